"""GDB's remote serial protocol, said with one client about one domain: vcpus are its threads, 1 for the first.

All-stop: while the domain stands it is asked and told, and while it runs it is only interrupted.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Final

from xenia.errors import ConfigError, GuestFault
from xenia.hypervisor import debugger as hardware
from xenia.toolstack.debug import registers
from xenia.toolstack.debug.monitor import Monitor
from xenia.toolstack.debug.packet import INTERRUPT, PACKET_SIZE, Packets, ProtocolError, packet, readable, receive
from xenia.toolstack.debug.target import Does, Place, Stop, Target, Why

_SIGINT, _SIGTRAP = 2, 5
_WORDS: Final = {hardware.WRITE: "watch", hardware.READ: "rwatch", hardware.WRITE | hardware.READ: "awatch"}
_KINDS: Final = {"0": 0, "1": 0, "2": hardware.WRITE, "3": hardware.READ, "4": hardware.WRITE | hardware.READ}
_ERROR: Final = b"E01"
_FAULT: Final = b"E0e"  # EFAULT
_SUPPORTED: Final = (
    f"PacketSize={PACKET_SIZE:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;"
    "qXfer:threads:read+"
).encode()
_WAKE: Final = 0.5  # seconds between two looks whether the server is to end, or the domain has
_PATIENCE: Final = 5.0  # seconds with a client that does not read


class _Left(Exception):
    """The client has gone, or has let go of the domain."""


class Session:
    """From the client's first word to its last."""

    def __init__(self, client: socket.socket, target: Target, ends: Callable[[], bool]) -> None:
        """ends   whether nobody wants it any more: asked every half second"""
        self._client = client
        self._target = target
        self._ends = ends
        self._packets = Packets()
        self._monitor = Monitor(target)
        self._vcpu = target.vcpus[0]  # of `g` and `m`
        self._stop = Stop(Why.ATTACHED, self._vcpu)
        self._description = registers.target_description()
        self._hardware: set[int] = set()  # addresses of breakpoints that were asked for as such

    def serve(self) -> None:
        """Until the client goes, or the domain has ended.  The domain goes on then, whatever was said."""
        self._client.settimeout(_PATIENCE)
        try:
            while not self._ends():
                self._look()
        except (_Left, ProtocolError, OSError):
            pass
        finally:
            self._monitor.close()
            self._target.detach()

    def _look(self) -> None:
        ready = readable(self._client, self._target.descriptor, seconds=_WAKE)
        if self._target.descriptor in ready or self._target.has_ended:
            self._stopped()
        if self._client.fileno() in ready:
            data = receive(self._client)
            if not data:
                raise _Left
            self._packets.feed(data)
            while True:
                said, acknowledgement = self._packets.take()
                if acknowledgement:
                    self._client.sendall(acknowledgement)
                if said is None:
                    break
                self._hear(said)

    def _hear(self, said: bytes) -> None:
        if not self._target.stands:
            if said == INTERRUPT:
                self._target.stop()
                self._tell(self._target.stopped() or Stop(Why.INTERRUPTED, self._first(self._vcpu)))
            return  # nothing else is said while it runs
        if said in (b"", INTERRUPT):
            return
        try:
            answer = self._answer(said.decode("latin-1"), said)
        except (ConfigError, ValueError, IndexError, KeyError, OverflowError):
            answer = _ERROR
        except GuestFault:
            answer = _FAULT
        if answer is not None:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        self._client.sendall(packet(answer))

    # --- stopping and going on

    def _stopped(self) -> None:
        stop = self._target.stopped()
        if self._target.has_ended:
            shutdown = self._target.domain.shutdown
            self._send(b"W%02x" % (shutdown.code & 0xFF if shutdown is not None else 0))
            raise _Left
        if stop is not None:
            self._tell(stop)

    def _tell(self, stop: Stop) -> None:
        self._stop, self._vcpu = stop, stop.vcpu
        self._send(self._reason())

    def _reason(self) -> bytes:
        stop, more = self._stop, ""
        if stop.why is Why.BREAKPOINT:
            more = "hwbreak:;" if stop.address in self._hardware else "swbreak:;"
        elif stop.why is Why.WATCHPOINT:
            more = f"{self._watch_word(stop.address)}:{stop.address:x};"
        signal = _SIGINT if stop.why is Why.INTERRUPTED else _SIGTRAP
        return f"T{signal:02x}thread:{stop.vcpu + 1:x};{more}".encode()

    def _watch_word(self, address: int) -> str:
        kinds = [kind for kind, place, _ in self._target.places if place == address and kind != hardware.CODE]
        return _WORDS.get(kinds[0], "watch") if kinds else "watch"

    def _go(self, what: dict[int, Does]) -> None:
        self._target.go(what)
        if self._target.stands:  # one had stopped already
            stop = self._target.stopped()
            assert stop is not None
            self._tell(stop)

    def _first(self, preferred: int) -> int:
        there = self._target.vcpus
        return preferred if preferred in there else there[0]

    # --- what is asked

    def _answer(self, said: str, raw: bytes) -> bytes | None:
        word, rest = said[0], said[1:]
        match word:
            case "?":
                return self._reason()
            case "g":
                return registers.read_all(self._registers).hex().encode()
            case "G":
                registers.write_all(self._registers, bytes.fromhex(rest))
                return b"OK"
            case "p":
                value = registers.read_one(self._registers, int(rest, 16))
                return _ERROR if value is None else value.hex().encode()
            case "P":
                number, _, value_said = rest.partition("=")
                done = registers.write_one(self._registers, int(number, 16), bytes.fromhex(value_said))
                return b"OK" if done else _ERROR
            case "m":
                return self._read(rest)
            case "M" | "X":
                return self._write(word, rest, raw)
            case "Z" | "z":
                return self._place(word == "Z", rest)
            case "H":
                return self._choose(rest)
            case "T":
                return b"OK" if int(rest, 16) - 1 in self._target.vcpus else _ERROR
            case "c" | "s" | "C" | "S":
                self._resume(word.lower(), rest.partition(";")[2] if word.isupper() else rest)
                return None
            case "D":
                self._send(b"OK")
                raise _Left
            case "k":
                self._target.kill()
                raise _Left
            case "v":
                return self._v(rest)
            case "q" | "Q":
                return self._query(said)
        return b""

    @property
    def _registers(self) -> registers.Registers:
        return self._target.domain.vcpus[self._vcpu]

    def _read(self, rest: str) -> bytes:
        address, size = (int(part, 16) for part in rest.split(","))
        data = self._target.read(self._vcpu, address, min(size, PACKET_SIZE // 2))
        return data.hex().encode() if data or not size else _FAULT

    def _write(self, word: str, rest: str, raw: bytes) -> bytes:
        where, _, data_said = rest.partition(":")
        address, size = (int(part, 16) for part in where.split(","))
        data = bytes.fromhex(data_said) if word == "M" else raw[len(where) + 2 :]
        if len(data) != size:
            return _ERROR
        self._target.domain.memory.write(address, data, vcpu=self._vcpu)
        return b"OK"

    def _place(self, add: bool, rest: str) -> bytes:
        fields = rest.partition(";")[0].split(",")
        if len(fields) != 3 or fields[0] not in _KINDS:
            return b""
        kind, address, length = _KINDS[fields[0]], int(fields[1], 16), int(fields[2], 16)
        if not 0 <= address < 1 << 64 or not 0 <= length <= 4096:
            return _ERROR
        place: Place = (kind, address, length if kind else 0)
        if add:
            self._target.add(place)
        else:
            self._target.take(place)
        if fields[0] == "1":
            (self._hardware.add if add else self._hardware.discard)(address)
        return b"OK"

    def _choose(self, rest: str) -> bytes:
        thread = int(rest[1:], 16)
        if thread > 0:
            if thread - 1 not in self._target.vcpus:
                return _ERROR
            if rest[0] == "g":
                self._vcpu = thread - 1
        return b"OK"

    def _resume(self, word: str, address: str) -> None:
        if address:
            self._registers.set_registers({"rip": int(address, 16)})
        what = dict.fromkeys(self._all(), Does.RUNS)
        if word == "s":
            what = {self._vcpu: Does.STEPS}
        self._go(what)

    def _all(self) -> range:
        return range(self._target.domain.max_vcpus)  # those included that come up meanwhile

    def _v(self, rest: str) -> bytes | None:
        if rest == "Cont?":
            return b"vCont;c;C;s;S"
        if rest.startswith("Cont;"):
            return self._vcont(rest.split(";")[1:])
        if rest.startswith("Kill"):
            self._target.kill()
            self._send(b"OK")
            raise _Left
        return b""

    def _vcont(self, actions: list[str]) -> bytes | None:
        what: dict[int, Does] = {}
        for action in actions:  # of each thread the first that names it
            does, _, thread = action.partition(":")
            if not re.fullmatch(r"[cs]|[CS][0-9a-fA-F]{2}", does):
                return _ERROR
            wanted = Does.STEPS if does[0] in "sS" else Does.RUNS
            number = int(thread, 16) if thread else -1
            for vcpu in self._all() if number <= 0 else [number - 1]:
                what.setdefault(vcpu, wanted)
        if not what or not set(what) <= set(self._all()):
            return _ERROR
        self._go(what)
        return None

    # --- queries

    def _query(self, said: str) -> bytes:
        name, _, rest = said.partition(":")
        match name:
            case "qSupported":
                return _SUPPORTED
            case "QStartNoAckMode":
                self._packets.acknowledges = False
                return b"OK"
            case "qXfer":
                return self._transfer(rest)
            case "qC":
                return b"QC%x" % (self._vcpu + 1)
            case "qAttached":
                return b"1"
            case "qfThreadInfo":
                return b"m" + ",".join(f"{vcpu + 1:x}" for vcpu in self._target.vcpus).encode()
            case "qsThreadInfo":
                return b"l"
            case "qOffsets":
                return self._monitor.offsets()
        if said.startswith("qThreadExtraInfo,"):
            return self._name(int(said.partition(",")[2], 16) - 1).encode().hex().encode()
        if said.startswith("qRcmd,"):
            return self._command(bytes.fromhex(said.partition(",")[2]).decode(errors="replace"))
        return b""

    def _name(self, vcpu: int) -> str:
        mode = "kernel" if self._target.domain.vcpus[vcpu].registers["kernel"] else "user"
        return f"vcpu {vcpu} of domain {self._target.domain.domid}, {mode} mode"

    def _transfer(self, rest: str) -> bytes:
        what, _, where = rest.rpartition(":")
        if what == "features:read:target.xml":
            whole = self._description
        elif what == "threads:read:":
            threads = (f'<thread id="{n + 1:x}" core="{n}" name="vcpu {n}">{self._name(n)}</thread>'
                       for n in self._target.vcpus)  # fmt: skip
            whole = f'<?xml version="1.0"?><threads>{"".join(threads)}</threads>'.encode()
        else:
            return b"" if not rest.startswith("features:") else b"E00"
        offset, length = (int(part, 16) for part in where.split(","))
        part = whole[offset : offset + min(length, PACKET_SIZE // 2)]
        return (b"m" if offset + len(part) < len(whole) else b"l") + part

    def _command(self, line: str) -> bytes:
        told = self._monitor.do(line).encode()
        for at in range(0, len(told), PACKET_SIZE // 4):
            self._send(b"O" + told[at : at + PACKET_SIZE // 4].hex().encode())
        return b"OK"
