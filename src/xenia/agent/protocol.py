"""What the agent and the host say to each other on the console.

In command mode the console carries records, among whatever else the guest's kernel prints there.  A record is

    10 f5 58 | type, 1 byte | length, 2 bytes | check of the 6 bytes before, 2 bytes | length bytes     (little endian)

and has at most 256 bytes, which is the console driver's own chunk: a message of the kernel never cuts a record in two.
Whatever does not read as a record is console text.

    from the guest    HELLO version, window     the command runs; so much input may be sent (u8, u32)
                      RINGS version, port, ref  instead: the streams are in rings of shared memory, not in records,
                                                with their indices in a page granted with that reference (u8, u32, u32)
                      STDOUT, STDERR bytes
                      CREDIT n                  so much more input may be sent (u32)
                      EXITED status, KILLED signal (u32); nothing follows but the guest's power off
    from the host     STDIN bytes, STDIN_END, SIGNAL number (u8)

Nothing may be sent before HELLO: until then the guest's terminal still echoes.  It comes once, and credit only grows:
anything else is the guest's own writing, and console text.

`AgentConnection` is the host's end without any I/O: bytes in, events out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

MAGIC: Final = b"\x10\xf5X"
VERSION: Final = 1
MAX_PAYLOAD: Final = 248

_HEADER = Struct("<3sBHH")
_U32 = Struct("<I")
_HELLO = Struct("<BI")
_RINGS = Struct("<BII")
_MOST_CREDIT: Final = 1 << 32


class RecordType(IntEnum):
    """What a record says."""

    HELLO = 1
    STDOUT = 2
    STDERR = 3
    CREDIT = 4
    EXITED = 5
    KILLED = 6
    RINGS = 7
    STDIN = 16
    STDIN_END = 17
    SIGNAL = 18


@dataclass(frozen=True)
class ConsoleText:
    """What the guest's kernel, or anything else, printed on the console."""

    data: bytes


@dataclass(frozen=True)
class Started:
    """The command runs; from now on `credit` says how much input it takes."""

    version: int


@dataclass(frozen=True)
class Rings:
    """The command runs, with its streams in rings: `backends.streams` serves them."""

    version: int
    port: int
    ref: int


@dataclass(frozen=True)
class Stdout:
    """Bytes of the command's standard output."""

    data: bytes


@dataclass(frozen=True)
class Stderr:
    """Bytes of the command's standard error."""

    data: bytes


@dataclass(frozen=True)
class CreditGranted:
    """More input may be sent: see `credit`."""


@dataclass(frozen=True)
class Exited:
    """The command ended with an exit status (0 to 255)."""

    status: int


@dataclass(frozen=True)
class Killed:
    """A signal ended the command."""

    signal: int


Event = ConsoleText | Started | Rings | Stdout | Stderr | CreditGranted | Exited | Killed


def record(kind: RecordType, payload: bytes = b"") -> bytes:
    """The bytes of one record."""
    head = MAGIC + bytes((kind, len(payload) & 0xFF, len(payload) >> 8))
    return head + _check(head).to_bytes(2, "little") + payload


def _check(head: bytes | bytearray) -> int:
    total = 0x5A
    for byte in head[:6]:
        total = total * 31 + byte
    return total & 0xFFFF


class AgentConnection:
    """The host's end of the console of a guest in command mode."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._credit = 0
        self._started = False
        self._input_ended = False

    @property
    def credit(self) -> int:
        """How many bytes of input may be sent now; 0 before `Started`."""
        return 0 if self._input_ended else self._credit

    def send_input(self, data: bytes) -> bytes:
        """What to write to the console to pass on input of at most `credit` bytes; ValueError if it is more."""
        if len(data) > self.credit:
            raise ValueError(f"{len(data)} bytes of input, with credit for {self.credit}")
        self._credit -= len(data)
        chunks = (data[at : at + MAX_PAYLOAD] for at in range(0, len(data), MAX_PAYLOAD))
        return b"".join(record(RecordType.STDIN, chunk) for chunk in chunks)

    def send_end_of_input(self) -> bytes:
        """What to write to the console to say that no more input comes.  Not before `Started`."""
        self._input_ended = True
        return record(RecordType.STDIN_END)

    def send_signal(self, number: int) -> bytes:
        """What to write to the console to send the command, and its process group, a signal.  Not before `Started`."""
        return record(RecordType.SIGNAL, bytes((number,)))

    def receive(self, data: bytes) -> list[Event]:
        """The events in what the console brought; adjacent ones of the same kind are joined.  Never raises."""
        self._buffer += data
        events: list[Event] = []
        kind: type[ConsoleText] | type[Stdout] | type[Stderr] = ConsoleText
        run: list[bytes] = []
        for part in self._parts():
            if isinstance(part, (ConsoleText, Stdout, Stderr)):
                if type(part) is not kind:
                    _flush(events, kind, run)
                    kind = type(part)
                run.append(part.data)
            else:
                _flush(events, kind, run)
                events.append(part)
        _flush(events, kind, run)
        return events

    def end(self) -> list[Event]:
        """The events left when nothing more comes: the start of a record that never was is console text."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [ConsoleText(rest)] if rest else []

    def _parts(self) -> Iterator[Event]:
        buffer = self._buffer
        position = 0
        while position < len(buffer):
            found = buffer.find(MAGIC, position)
            if found != position:
                end = found if found >= 0 else len(buffer) - _start_of_magic(buffer)
                if end > position:
                    yield ConsoleText(bytes(buffer[position:end]))
                position = end
                if found < 0:
                    break
            if len(buffer) - position < _HEADER.size:
                break
            _, kind, length, check = _HEADER.unpack_from(buffer, position)
            if check != _check(buffer[position : position + 6]) or length > MAX_PAYLOAD:
                yield ConsoleText(bytes(buffer[position : position + 1]))
                position += 1
                continue
            end = position + _HEADER.size + length
            if len(buffer) < end:
                break
            yield self._event(kind, bytes(buffer[position + _HEADER.size : end]), bytes(buffer[position:end]))
            position = end
        del buffer[:position]

    def _event(self, kind: int, payload: bytes, whole: bytes) -> Event:
        match kind, len(payload):
            case RecordType.STDOUT, _:
                return Stdout(payload)
            case RecordType.STDERR, _:
                return Stderr(payload)
            case RecordType.HELLO, _HELLO.size if not self._started:
                self._started = True
                version, self._credit = _HELLO.unpack(payload)
                return Started(version)
            case RecordType.RINGS, _RINGS.size if not self._started:
                self._started = True
                return Rings(*_RINGS.unpack(payload))
            case RecordType.CREDIT, _U32.size if self._started:
                self._credit = min(self._credit + _U32.unpack(payload)[0], _MOST_CREDIT)
                return CreditGranted()
            case RecordType.EXITED, _U32.size:
                return Exited(_U32.unpack(payload)[0] & 0xFF)
            case RecordType.KILLED, _U32.size:
                return Killed(_U32.unpack(payload)[0] & 0x7F)
        return ConsoleText(whole)


def _flush(events: list[Event], kind: type[ConsoleText] | type[Stdout] | type[Stderr], run: list[bytes]) -> None:
    if run:
        events.append(kind(b"".join(run)))
        run.clear()


def _start_of_magic(buffer: bytearray) -> int:
    """How many of the last bytes may be the start of a record whose rest has not come yet."""
    for length in (2, 1):
        if buffer.endswith(MAGIC[:length]):
            return length
    return 0
