"""The public face: a machine, and domains in it with their console and their part of xenstore."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from xenia.abi.blkif import SECTOR_SIZE
from xenia.backends.console.device import Console
from xenia.backends.console.sink import CallbackSink, FdSink, Sink
from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.name import in_one_place
from xenia.domain.build.bzimage import load_image
from xenia.domain.build.elf import ElfKernel, load_elf
from xenia.domain.build.image_file import read_image
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.hypervisor.foreign import DomainForeign
from xenia.hypervisor.machine import DomainHandle, MachineHandle
from xenia.shutdown import Shutdown
from xenia.storage.layer import Layer
from xenia.toolstack.config.machine import MIB, Clock
from xenia.toolstack.devices.disk import Disk, free_name, number_of
from xenia.toolstack.devices.served_disk import ServedDisk, backend_home, physical_device
from xenia.toolstack.machine.home import write_home
from xenia.toolstack.machine.hypervisor_log import HypervisorLog
from xenia.toolstack.machine.window import tell_window_size
from xenia.toolstack.releases import Releases
from xenia.xenbus.attachment import Address, remove_all
from xenia.xenstore.error import StoreError
from xenia.xenstore.server import Server, socket_path
from xenia.xenstore.store import Store

# What a domain keeps outside of its own memory: page tables of Xen's, shared pages.
_DOMAIN_OVERHEAD = MIB
# The M2P has 8 bytes for each frame of 4 KiB.
_M2P_SHARE = 512


class Machine:
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

    ConfigError when the host does not give that much memory, or the socket cannot be made.  Use as a context manager,
    or call `close`.
    """

    isolated: ClassVar[type[Machine]]  # what `isolate` makes, in toolstack/isolation, which stands on this module

    def __new__(cls, *_: Any, isolate: bool = False, **__: Any) -> Machine:
        """One of the kind that is asked for."""
        return super().__new__(cls.isolated if isolate else cls)

    def __init__(
        self,
        memory: int,
        *,
        scatter: int | None = None,
        check: bool = False,
        xenstore_socket: str | os.PathLike[str] | bool | socket.socket | None = None,
        jail: bool = True,
        isolate: bool = False,
    ) -> None:
        self._hypervisor = MachineHandle(memory, scatter, check, jail)
        self._domains: list[Domain] = []
        self._log = HypervisorLog()
        self._store = Server(Store(), store_place(xenstore_socket), self._find_guest)
        try:
            self._store.start()
            self._keys = self._store.client()
        except BaseException:
            self._store.close()
            raise

    @staticmethod
    def memory_for(*guests: int) -> int:
        """Bytes of machine memory that guests of these sizes need, Xen's own included."""
        total = sum(guests) + _DOMAIN_OVERHEAD * (len(guests) + 1)
        return (total + 2 * total // _M2P_SHARE + 4095) & ~4095

    def create_domain(
        self,
        kernel: str | os.PathLike[str] | bytes | ElfKernel,
        *,
        name: str = "guest",
        initrd: str | os.PathLike[str] | bytes | None = None,
        cmdline: str = "",
        memory: int = 256 * MIB,
        clock: Clock = "real",
        console: int | Callable[[bytes], None] | None = None,
        driver_domain: bool = False,
    ) -> Domain:
        """A domain with `kernel` loaded into `memory` bytes, ready to `start`.

        kernel      a file (bzImage or ELF), its bytes, or a kernel resolved already
        console     where the guest's console goes: a file descriptor, or a function that is called with bytes, on the
                    console's thread, and may wait; None discards it
        driver_domain   whether it may serve devices to others, see `Domain.attach_disk_of`

        ConfigError when a file cannot be read, the kernel cannot boot as a PV guest, or the memory is not there.
        """
        elf = _kernel(kernel)
        ramdisk = _bytes(initrd, memory) if initrd is not None else b""
        vm = self._hypervisor.create_domain(
            elf, memory=memory, ramdisk=ramdisk, command_line=cmdline, warped=clock == "warped"
        )
        try:
            domain = Domain(name, vm, _sink(console), self._store, memory, self._log, driver_domain)
        except BaseException:
            vm.destroy()
            raise
        try:
            self._introduce(domain)
        except BaseException:
            domain.destroy()
            raise
        self._domains = [*(other for other in self._domains if not other.destroyed), domain]
        return domain

    @property
    def dmesg(self) -> list[str]:
        """The hypervisor's log, line by line: what guests wrote with CONSOLEIO_write, which is no part of their
        console, how they ended, and the registers of those that were crashed.  The newest 256 KiB are kept."""
        return self._log.lines

    @property
    def free_memory(self) -> int:
        """Bytes of machine memory that no domain has."""
        return self._hypervisor.memory.nr_free << 12

    def close(self) -> None:
        """Destroy the domains and end the store.

        ConfigError, with all that done, where a disk did not close cleanly.
        """
        with Releases() as releases:
            for domain in reversed(self._domains):  # those that are served before those that serve
                releases.do(domain.destroy)
            releases.do(self._store.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_guest(self, domid: int, mfn: int, port: int) -> Foreign | None:
        """What a client of the store introduces: a domain, by the page and the channel that it was built with."""
        for domain in self._domains:
            if (domain.domid, domain.vm.store_mfn, domain.vm.store_port) == (domid, mfn, port):
                return None if domain.destroyed else domain.foreign
        return None

    def _introduce(self, domain: Domain) -> None:
        """Write what a toolstack writes for a PV domain, and serve its store page."""
        with self._keys.transaction() as keys:
            write_home(keys, domain.name, domain.memory, domain.vm)
            if domain.driver_domain:
                backend_home(keys, domain.domid)
        self._store.attach(domain.foreign)


class Domain:
    """One guest, made by `Machine.create_domain`.

    name, memory, driver_domain    as it was created; memory in bytes
    console         `send` and `offer` give it input
    disks, served_disks    what was plugged in, by us and by other domains, those since removed included
    vm              the virtual machine below it: registers, audit; changes without notice
    """

    def __init__(
        self,
        name: str,
        vm: DomainHandle,
        sink: Sink,
        store: Server,
        memory: int,
        log: HypervisorLog,
        driver_domain: bool = False,
    ) -> None:
        self.name = name
        self.memory = memory
        self.driver_domain = driver_domain
        self.vm = vm
        self._log = log
        self._store = store
        self._keys = store.client()
        self._foreign = DomainForeign(vm)
        self.disks: list[Disk] = []
        self.served_disks: list[ServedDisk] = []
        self._serves: list[ServedDisk] = []  # to others
        self.console = Console(
            f"d{vm.domid}",
            self._foreign,
            sink,
            emergency_fd=vm.emergency_fd,
            log_fd=vm.log_fd,
            log=lambda data: log.said(vm.domid, data),
        )
        self._settling = threading.Lock()
        self._settled = False
        self._life = threading.Lock()  # whether it is destroyed: it does not start then
        self._destroyed = False

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called."""
        return self._destroyed

    @property
    def domid(self) -> int:
        """The domain's number."""
        return self.vm.domid

    @property
    def foreign(self) -> Foreign:
        """The domain as its backends see it: what it grants to domain 0, and the ports it opens for it."""
        return self._foreign

    def start(self) -> None:
        """Let the guest run, on a host thread of its own.  Once only; ConfigError when it was destroyed."""
        with self._life:
            if self._destroyed:
                raise ConfigError(f"cannot start guest '{self.name}': it is destroyed")
            self.console.start()
            self.vm.start(self._ended)

    def attach_disk(
        self,
        layer: Layer,
        *,
        name: str | None = None,
        read_only: bool = False,
        cdrom: bool = False,
        sector_size: int = SECTOR_SIZE,
        persistent: bool | None = None,
        discard: bool = True,
    ) -> Disk:
        """Plug in a disk, before the guest starts or while it runs.  The layer is closed with the domain; it stays open
        where this fails.

        name        xvda, hdc, ... (xen-vbd-interface(7)); None: the first xvd that is free
        persistent  let the guest copy through pages that stay granted, which it has to where it serves the disk to
                    another domain: it cannot grant what was granted to it.  None: a driver domain may

        The other options are Vbd's.  ConfigError when there is no such name, or it is taken.
        """
        name, device = self._place(name)
        config = VbdConfig(
            read_only=read_only,
            cdrom=cdrom,
            sector_size=sector_size,
            persistent=self.driver_domain if persistent is None else persistent,
            discard=discard,
        )
        vbd = Vbd(layer, config, device=device)
        try:
            disk = Disk(self._store.client(), self._foreign, name, device, layer, vbd)
        except BaseException:
            vbd.close()
            raise
        self.disks.append(disk)
        return disk

    def attach_disk_of(
        self,
        driver: Domain,
        params: str,
        *,
        name: str | None = None,
        read_only: bool = False,
        cdrom: bool = False,
        number: str | None = None,
        script: str | None = None,
    ) -> ServedDisk:
        """Plug in a disk that another domain serves: a block device that is there already, in a domain with Linux's
        xen-blkback.

        params      the path of the device's node in the driver domain
        name        xvda, hdc, ... (xen-vbd-interface(7)); None: the first xvd that is free
        number      the device's number there as MAJOR:MINOR, where it does not follow from the node's name
        script      the driver domain runs this hotplug script, which finds the number; nothing is done here

        ConfigError when `driver` is no driver domain of this machine, the number is not known, there is no such name,
        or it is taken.
        """
        if not driver.driver_domain or driver._store is not self._store or driver is self:
            raise ConfigError(f"'{driver.name}' serves no disks: create it in this machine, with driver_domain=True")
        if driver.destroyed:
            raise ConfigError(f"the driver domain '{driver.name}' is gone")
        keys = {
            "type": "phy",
            "params": params,
            "mode": "r" if read_only or cdrom else "w",
            "discard-enable": str(int(not read_only and not cdrom)),
        }
        if script is not None:
            keys["script"] = script
        else:
            keys |= {"physical-device": physical_device(params, number), "hotplug-status": "connected"}
        name, device = self._place(name)
        disk = ServedDisk(
            self._store.client(),
            name,
            Address("vbd", self.domid, device, driver.domid),
            lambda: DomainForeign(self.vm, driver.domid),
            keys,
            cdrom=cdrom,
            is_served=lambda: driver.shutdown is None and not driver._destroyed,
        )
        self.served_disks.append(disk)
        driver._serves = [*(served for served in driver._serves if not served.removed), disk]
        return disk

    def _place(self, name: str | None) -> tuple[str, int]:
        """That name, or the first that is free, and its number.  ConfigError where it is taken, or none."""
        disks: list[Disk | ServedDisk] = [*self.disks, *self.served_disks]
        taken = [disk.name for disk in disks if not disk.removed]
        name = name if name is not None else free_name(taken)
        device = number_of(name)
        for other in taken:
            if device == number_of(other):
                raise ConfigError(f"there is a disk {name} already")
            if in_one_place(name, other):
                raise ConfigError(f"a guest has one place for {other} and {name}: call one of them {free_name(taken)}")
        return name, device

    def set_window_size(self, rows: int, columns: int) -> None:
        """Tell the guest how large the window is that shows its console, where Xenia's agent looks for it."""
        tell_window_size(self._keys, self.domid, rows, columns)

    def wait(self, timeout: float | None = None) -> Shutdown | None:
        """Wait until the guest has ended and its console has brought everything; how it ended.

        None when that takes longer than `timeout` seconds, or when the domain is destroyed meanwhile.  A fault of
        Xenia's own that ended it is raised here.
        """
        shutdown = self.vm.wait(timeout)
        if shutdown is not None:
            self._settle()
        return shutdown

    def destroy(self, *, keep_layers: bool = False) -> None:
        """Stop the guest where it stands and give its memory back.  Destroying it again does nothing.

        keep_layers   leave the disks' layers open: they are the caller's from now on

        ConfigError, with everything given back, where a disk did not close cleanly.
        """
        with self._life:
            if self._destroyed:
                return
            self._destroyed = True
        with Releases() as releases:
            releases.do(self.vm.stop)
            releases.do(self._settle, 0)
            for disk in self.disks:
                releases.do(disk.remove, keep_layer=keep_layers)
            for served in self.served_disks:
                releases.do(served.remove)
            releases.do(self._leave_store)
            releases.do(self.vm.destroy)
            for given in self._serves:
                releases.do(given.abandon)

    def _leave_store(self) -> None:
        try:
            self._keys.atomically(lambda keys: remove_all(keys, f"/local/domain/{self.domid}"))
        finally:
            with suppress(StoreError):  # where a client of the store has released it already
                self._store.detach(self.domid)

    @property
    def statistics(self) -> dict[str, Any]:
        """What the domain has done since it was created, as plain data: counters of the hypervisor's (hypercalls by
        name, exceptions by number), and for each disk those of the device (VbdStats) and of each layer of its
        storage."""
        return {
            "name": self.name,
            "domid": self.domid,
            "memory": self.memory,
            "seconds": self.vm.system_time / 1e9,
            **self.vm.statistics,
            "disks": [disk.statistics for disk in self.disks if not disk.removed],
        }

    @property
    def shutdown(self) -> Shutdown | None:
        """How the guest ended, None while it has not."""
        return self.vm.shutdown

    @property
    def crash_report(self) -> str:
        """Registers, code and stack of a guest that was crashed, as lines of text."""
        return "\n".join(self.vm.crash_report)

    def _ended(self) -> None:
        """The vcpu stopped for good.  On its thread."""
        if self.shutdown is not None:
            self._store.shutdown(self.domid)

    def _settle(self, timeout: float | None = None) -> None:
        """Bring what is left of the console's output out, and end the threads.  The vcpu does not run any more."""
        with self._settling:
            if not self._settled:
                self._settled = True
                self.console.close(timeout)
                self._log.ended(self.domid, self.shutdown, self.vm.crash_report)


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


def _sink(console: int | Callable[[bytes], None] | None) -> Sink:
    if isinstance(console, int):
        return FdSink(console)
    return CallbackSink(console if console is not None else _discard)


def _discard(data: bytes) -> None:
    """The console of a guest that nobody listens to."""
