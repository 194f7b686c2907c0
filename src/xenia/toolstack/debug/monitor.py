"""What `monitor` does in GDB: questions about a domain that its protocol has no words for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from xenia.abi.xs_wire import XsdError
from xenia.errors import ConfigError, GuestFault
from xenia.hypervisor import guest_memory
from xenia.hypervisor.channel_info import ChannelInfo, ChannelKind
from xenia.hypervisor.channels import event_channels
from xenia.toolstack.debug.target import Target
from xenia.toolstack.debug.trace import Trace
from xenia.toolstack.machine.core import vmcoreinfo
from xenia.xenstore.error import StoreError

_MOST_NODES = 2000
_NO_NODE = {XsdError.ENOENT: "there is no such node", XsdError.EINVAL: "this is no path of a node"}


class Monitor:
    """The commands, of which each answers text."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._trace = Trace(target.domain)
        self._commands: dict[str, tuple[str, str, Callable[[list[str]], str]]] = {
            "help": ("", "these lines", self._help),
            "xenstore": ("[PATH]", "the store below a path (default: the domain's)", self._xenstore),
            "walk": ("ADDRESS [VCPU]", "how the page tables lead to a virtual address", self._walk),
            "hypercalls": ("", "how often each was made, and each exception taken", self._hypercalls),
            "trace": ("on [NAME...]|off|show [N]", "hypercalls as they are made, of these names or all", self._tracing),
            "events": ("", "its event channels: to whom, pending, masked, whose", self._events),
            "kaslr": ("", "how far the kernel is from where it was linked", self._kaslr),
        }

    def do(self, line: str) -> str:
        """Lines of text, for a line that somebody typed."""
        name, *arguments = line.split() or ["help"]
        if name not in self._commands:
            return f"there is no command {name!r}: monitor help lists them\n"
        words, _, function = self._commands[name]
        if arguments and not words:
            return f"monitor {name} takes no more words\n"
        try:
            return function(arguments)
        except (ConfigError, GuestFault) as error:
            return f"{error}\n"

    def _help(self, _: list[str]) -> str:
        rows = [(f"monitor {name} {words}".rstrip(), what) for name, (words, what, _) in self._commands.items()]
        return "".join(f"{row:<44}{what}\n" for row, what in rows)

    def _xenstore(self, arguments: list[str]) -> str:
        if len(arguments) > 1:
            raise ConfigError("monitor xenstore [PATH]")
        store, domid = self._target.domain.xenstore, self._target.domain.domid
        lines: list[str] = []

        def look(path: str, depth: int) -> None:
            if len(lines) < _MOST_NODES:
                name = path.rpartition("/")[2] if depth else path
                lines.append(f"{'  ' * depth}{name} = {_shown(store.read(path))}")
                for child in store.directory(path):
                    look(f"{path.rstrip('/')}/{child}", depth + 1)

        path = arguments[0] if arguments else f"/local/domain/{domid}"
        try:
            look(path, 0)
        except StoreError as error:
            raise ConfigError(f"{path}: {_NO_NODE.get(error.error, error.error.name)}") from None
        return "\n".join(lines) + "\n"

    def _walk(self, arguments: list[str]) -> str:
        if not 1 <= len(arguments) <= 2:
            raise ConfigError("monitor walk ADDRESS [VCPU]")
        address = _number(arguments[0], "address, 0xffffffff81000000 say") % (1 << 64)
        vcpu = _number(arguments[1], "vcpu's number") if len(arguments) > 1 else self._target.vcpus[0]
        handle = self._target.domain.handle
        if not 0 <= vcpu < handle.max_vcpus:
            raise ConfigError(f"there is no vcpu {vcpu}")
        lines = []
        for level, table, index, entry in guest_memory.walk(handle, vcpu, address):
            names = (name for bit, name in _BITS if entry >> bit & 1)
            lines.append(f"L{level} mfn {table:#x} [{index:3}] = {entry:#018x}  {' '.join(names)}")
        found = guest_memory.translate(handle, vcpu, address)
        if found is None:
            return "\n".join([*lines, f"{address:#x} is not mapped"]) + "\n"
        mfn, pfn = found
        offset = address & 0xFFF
        known = "a page of others" if pfn is None else f"pseudo-physical {pfn << 12 | offset:#x}"
        return "\n".join([*lines, f"{address:#x} is {known}, machine {mfn << 12 | offset:#x}"]) + "\n"

    def _hypercalls(self, _: list[str]) -> str:
        counts = self._target.domain.handle.statistics
        lines = []
        for what in ("hypercalls", "exceptions"):
            counted = counts[what]
            assert isinstance(counted, dict)
            rows = sorted(counted.items(), key=lambda row: -row[1])
            lines += [f"{what}:", *(f"  {name!s:<24}{count:>12}" for name, count in rows)]
        return "\n".join(lines) + "\n"

    def _tracing(self, arguments: list[str]) -> str:
        match arguments:
            case ["on", *names]:
                self._trace.on(*names)
                return f"traced: {', '.join(names) or 'all hypercalls'}\n"
            case ["off"]:
                self._trace.off()
                return "nothing is traced\n"
            case ["show"]:
                return self._trace.show()
            case ["show", number]:
                return self._trace.show(_number(number, "number"))
        raise ConfigError("monitor trace on [NAME...], monitor trace off, monitor trace show [N]")

    def _events(self, _: list[str]) -> str:
        lines = [f"{'port':>6} {'vcpu':>4} {'pending':<8}{'masked':<7}kind"]
        for one in event_channels(self._target.domain.handle):
            marks = f"{'pending' if one.pending else '-':<8}{'masked' if one.masked else '-':<7}"
            lines.append(f"{one.port:>6} {one.vcpu:>4} {marks}{_kind(one)}")
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Nobody asks any more."""
        self._trace.off()

    def _kaslr(self, _: list[str]) -> str:
        offset = self._kernel_offset()
        if offset is None:
            return "the kernel has left no VMCOREINFO that tells\n"
        return f"the kernel is {offset:#x} from where it was linked\n"

    def offsets(self) -> bytes:
        """What qOffsets answers."""
        offset = self._kernel_offset() or 0
        return b"Text=%x;Data=%x;Bss=%x" % (offset, offset, offset)

    def _kernel_offset(self) -> int | None:
        for line in vmcoreinfo(self._target.domain.handle).decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "KERNELOFFSET":
                with suppress(ValueError):  # it is the guest that wrote it
                    return int(value, 16)
        return None


_BITS = ((0, "P"), (1, "RW"), (2, "US"), (5, "A"), (6, "D"), (7, "PS"), (8, "G"), (63, "NX"))


_VIRQS = {0: "timer", 1: "debug", 2: "console"}


def _number(word: str, what: str) -> int:
    """Of 64 bits, as C writes it."""
    with suppress(ValueError):
        if -(1 << 63) <= (number := int(word, 0)) < 1 << 64:
            return number
    raise ConfigError(f"{word!r} is no {what}")


def _kind(one: ChannelInfo) -> str:
    match one.kind:
        case ChannelKind.VIRQ:
            return f"virq {one.virq} ({_VIRQS[one.virq]})" if one.virq in _VIRQS else f"virq {one.virq}"
        case ChannelKind.UNBOUND:
            return f"unbound, for domain {one.remote_domid}"
        case ChannelKind.INTERDOMAIN:
            return f"interdomain, domain {one.remote_domid} port {one.remote_port}"
        case ChannelKind.XENIA:
            return f"interdomain, domain {one.remote_domid} (Xenia)"
    return one.kind.name.lower()


def _shown(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("latin-1")
    return '"' + text.encode("unicode_escape").decode() + '"'
