"""The public face: a machine, in which domains are created."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xenia.agent.config import brings_agent
from xenia.domain.build.bzimage import load_image
from xenia.domain.build.elf import ElfKernel, load_elf
from xenia.domain.build.image_file import read_image
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.hypervisor.domain import create_domain
from xenia.hypervisor.machine import MachineHandle
from xenia.toolstack.config import values
from xenia.toolstack.config.machine import MIB, format_size
from xenia.toolstack.config.values import Given, given
from xenia.toolstack.config.vcpus import check_vcpus
from xenia.toolstack.machine.console import sink_of
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.house import House
from xenia.toolstack.machine.hypervisor_log import HypervisorLog
from xenia.toolstack.machine.options import DomainOptions, MachineOptions, taking
from xenia.toolstack.releases import Releases
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server, socket_path
from xenia.xenstore.store import Store

if TYPE_CHECKING:  # loaded by who freezes a guest or lets it go on
    from xenia.toolstack.machine.frozen import Frozen
    from xenia.toolstack.networks.network import Network

# What a domain keeps outside of its own memory: page tables of Xen's, shared pages.
_DOMAIN_OVERHEAD = MIB
# The M2P has 8 bytes for each frame of 4 KiB.
_M2P_SHARE = 512


class Machine(Given):
    """A machine of `memory` bytes in which domains run, with one xenstore for all of them.

    scatter             a seed: hand machine frames out in a random order
    check               debug mode: before every entry into a guest, compare what the processor holds with the page
                        tables
    xenstore_socket     where the store's socket is made, for xenstore-ls and other clients of this user; True: where
                        those look for it (XENSTORED_PATH, or `socket` in XENSTORED_RUNDIR, or in /run/xenstored); None:
                        nowhere.  Or one that listens already
    jail                narrow the threads that run guests to the few system calls that they need; your program's own
                        threads are left alone
    isolate             the machine lives in a process of its own, which is walled in (docs/security.md).  Its domains
                        then take disks by their words, as `xenia run --disk` does, and kernels by file or bytes
    scheduler           "credit2": its domains share `pcpus` host threads (None: as many as there are processors for
                        this process) by their weights and caps (`Domain.sched`, docs/scheduler.md); "null": each vcpu
                        has a host thread of its own
    engine              what runs guest code: "emulated"; "native", which has user code run by the host's processor
                        where that pays (docs/native.md); or "auto", that where the host permits it

    ConfigError when the host does not give that much memory, or the socket cannot be made.  Use as a context manager,
    or call `close`.
    """

    isolated: ClassVar[type[Machine]]  # what `isolate` makes, in toolstack/isolation, which stands on this module
    booting: ClassVar[Callable[..., Domain]]  # what `boot` does, in toolstack/scripting, which does so too

    def __new__(cls, *_: Any, isolate: bool = False, **__: Any) -> Machine:
        """One of the kind that is asked for."""
        return super().__new__(cls.isolated if isolate else cls)

    @taking(MachineOptions)
    def __init__(self, options: MachineOptions) -> None:
        self._make(options)

    def _make(self, options: MachineOptions) -> None:
        self._handle = MachineHandle(
            options.memory,
            options.scatter,
            options.check,
            options.jail,
            options.engine,
            scheduler=options.scheduler,
            pcpus=options.pcpus,
        )
        store = Server(Store(), store_place(options.xenstore_socket), self._find_guest)
        self._house = House(store, HypervisorLog())
        try:
            store.start()
            self._xenstore = store.client()
        except BaseException:
            store.close()
            raise

    @staticmethod
    @given(guests=values.MEMORY)
    def memory_for(*guests: int) -> int:
        """Bytes of machine memory that guests of these sizes need, Xen's own included."""
        total = sum(guests) + _DOMAIN_OVERHEAD * (len(guests) + 1)
        return (total + 2 * total // _M2P_SHARE + 4095) & ~4095

    @classmethod
    def boot(
        cls,
        kernel: str | os.PathLike[str] = "debian",
        *,
        console: int | Callable[[bytes], None] | None = None,
        machine: Machine | None = None,
        **options: Any,
    ) -> Domain:
        """A guest that runs, with all that `xenia run` would give it: a kernel, a RAM disk with a shell, a network.

        kernel      "debian", "debian-cloud", "demo", or a file
        console     as in `create_domain`; what the guest says is kept as well (`domain.console`)
        machine     where it lives; None: in a machine of its own, which ends with it
        options     memory="512M", vcpus=, disks=, root=, net=, ...: those of `xenia.run` (GuestOptions)

        ConfigError where such a guest cannot be had.  Use what is answered as a context manager, or `destroy` it.
        """
        return cls.booting(kernel, console, machine, **options)

    @taking(DomainOptions)
    def create_domain(self, options: DomainOptions) -> Domain:
        """A domain with `kernel` loaded into `memory` bytes, ready to `start`.

        kernel      a file (bzImage or ELF), its bytes, or a kernel resolved already
        max_memory  bytes that it can be given later (`Domain.set_memory`): the guest's memory map reaches so far; None:
                    as many as it has from the start
        console     where the guest's console goes: a file descriptor, or a function that is called with bytes, on the
                    console's thread, and may wait; None discards it
        vcpus, max_vcpus    with how many vcpus it begins, and how many it can be given (`Domain.set_vcpus`); None is as
                    many.  Each runs on a thread of its own
        driver_domain   whether it may serve devices to others, see `Domain.attach_disk_of`
        engine      as of the machine, for this one; None: the machine's, and no other where the machine is isolated

        ConfigError when a file cannot be read, the kernel cannot boot as a PV guest, or the memory is not there.
        """
        return self._create(options)

    def _create(self, options: DomainOptions) -> Domain:
        max_vcpus = check_vcpus(options.vcpus, options.max_vcpus)
        if options.memory > self.total_memory:
            raise ConfigError(
                f"memory {format_size(options.memory)}: the machine has {format_size(self.total_memory)} in all"
            )
        elf = _kernel(options.kernel)
        ramdisk = _bytes(options.initrd, options.memory) if options.initrd is not None else b""
        handle = create_domain(
            self._handle,
            elf,
            memory=options.memory,
            max_memory=options.max_memory or 0,
            ramdisk=ramdisk,
            command_line=options.cmdline,
            warped=options.clock == "warped",
            vcpus=options.vcpus,
            max_vcpus=max_vcpus,
            engine=options.engine,
        )
        try:
            domain = Domain(
                self._house, handle, sink_of(options.console), options.name, options.memory, options.driver_domain
            )
            domain.nr_vcpus = options.vcpus
            domain.commands.agent_comes = brings_agent(ramdisk)
        except BaseException:
            handle.destroy()
            raise
        try:
            domain.introduce(options.max_memory)
        except BaseException:
            domain.destroy()
            raise
        self._house.take_in(domain)
        return domain

    @given(name=values.text, nat=values.truth, subnet=values.text, ipv6=values.truth, hosts=values.NUMBERS)
    def create_network(
        self,
        name: str = "network",
        *,
        nat: bool = True,
        subnet: str | None = None,
        ipv6: bool = True,
        hosts: Sequence[int] = (),
    ) -> Network:
        """A network for domains of this machine (`Domain.attach_vif`), which ends with it.

        nat      whether they reach the world, over a process of its own that needs no rights (docs/networks.md)
        subnet   their addresses, then: 10.0.2.0/24 unless another one is given
        ipv6     whether they have IPv6 addresses, too
        hosts    ports of the host's loopback that they reach, at host.xenia.internal

        ConfigError where the way to the world cannot be had.
        """
        from xenia.toolstack.networks.network import Network, network_config

        network = Network(name, network_config(name, True, subnet, ipv6) if nat else None, hosts)
        self._house.networks = [*(other for other in self._house.networks if not other.closed), network]
        return network

    def rebuild(self, frozen: Frozen) -> Domain:
        """A domain that goes on where a frozen guest (`Domain.freeze`) was, ready to `start`: with other frames, under
        the next number.

        ConfigError where the memory is not there, or one of its devices cannot be plugged in; it is still frozen then.
        """
        from xenia.toolstack.machine.frozen import Frozen

        values.instance(Frozen, "what Domain.freeze answers")("frozen", frozen)
        with frozen.going:
            return self._rebuild(frozen)

    def _rebuild(self, frozen: Frozen) -> Domain:
        from xenia.hypervisor.persist import rebuild
        from xenia.toolstack.machine.frozen import go_on

        if frozen.used:
            raise ConfigError(f"the frozen guest '{frozen.state.name}' goes on already")
        state = frozen.state
        handle = rebuild(self._handle, state.guest)
        try:
            domain = Domain(
                self._house, handle, frozen.sink, state.name, state.memory, state.driver_domain, state.console
            )
        except BaseException:
            handle.destroy()
            raise
        try:
            go_on(domain, frozen)
        except BaseException:
            domain.destroy(keep_layers=True)
            raise
        frozen.used = True
        self._house.take_in(domain)
        return domain

    @property
    def domains(self) -> list[Domain]:
        """The domains that were not destroyed, the oldest first."""
        return [domain for domain in self._house.domains if not domain.destroyed]

    @property
    def xenstore(self) -> Client:
        """A client of the xenstore with the rights of domain 0: the toolstack's own."""
        return self._xenstore

    @property
    def dmesg(self) -> list[str]:
        """The hypervisor's log, line by line: what guests wrote with CONSOLEIO_write, which is no part of their
        console, how they ended, and the registers of those that were crashed.  The newest 256 KiB are kept."""
        return self._house.log.lines

    def clear_dmesg(self) -> None:
        """Forget what is in the hypervisor's log, as `xl dmesg -c` does."""
        self._house.log.clear()

    @property
    def free_memory(self) -> int:
        """Bytes of machine memory that no domain has, or may still ask for."""
        return self._handle.nr_left << 12

    @property
    def resident_memory(self) -> int:
        """Bytes of machine memory that the host has given so far: what guests used, and have not given back since."""
        return self._handle.memory.resident

    @property
    def total_memory(self) -> int:
        """Bytes of machine memory in all."""
        return self._handle.memory.nr_frames << 12

    def close(self) -> None:
        """Destroy the domains and end the store.

        ConfigError, with all that done, where a disk did not close cleanly.
        """
        with Releases() as releases:
            for domain in reversed(self._house.domains):  # those that are served before those that serve
                releases.do(domain.destroy)
            for network in self._house.networks:
                releases.do(network.close)
            releases.do(self._house.store.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_guest(self, domid: int, mfn: int, port: int) -> Foreign | None:
        """What a client of the store introduces: a domain, by the page and the channel that it was built with."""
        for domain in self._house.domains:
            if (domain.domid, domain.handle.store_mfn, domain.handle.store_port) == (domid, mfn, port):
                return None if domain.destroyed else domain.foreign
        return None


def store_place(where: str | os.PathLike[str] | bool | socket.socket | None) -> Path | socket.socket | None:
    """Where clients of a machine's xenstore connect, of what Machine takes for that."""
    if isinstance(where, bool):
        return socket_path(os.environ, Path("/run/xenstored")) if where else None
    return where if where is None or isinstance(where, socket.socket) else Path(where)


def _kernel(kernel: str | os.PathLike[str] | bytes | ElfKernel) -> ElfKernel:
    if isinstance(kernel, ElfKernel):
        return kernel
    if isinstance(kernel, bytes):
        return load_elf(kernel, "kernel")
    return load_elf(load_image(Path(kernel)), os.fspath(kernel))


def _bytes(file: str | os.PathLike[str] | bytes, most: int) -> bytes:
    return file if isinstance(file, bytes) else read_image(Path(file), most)
