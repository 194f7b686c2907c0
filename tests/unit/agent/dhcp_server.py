"""Makes a network namespace of its own with a card in it, and answers the DHCP client there as it is told.

The script on standard input is a Python list of what to answer, message by message: dictionaries of options by their
numbers; and "anew" where another card takes the name of the first one meanwhile.  What the client asked, and the state
of its card in the end, go to standard output as JSON.
"""

from __future__ import annotations

import ast
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
IN_CLOSE_WRITE, IN_NONBLOCK = 8, os.O_NONBLOCK
SERVER = bytes((10, 9, 8, 1))
MAC = bytes((2, 0, 0, 0, 0, 1))
COOKIE = bytes((99, 130, 83, 99))


def check(data: bytes) -> int:
    """The Internet checksum."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(payload: bytes, target: bytes, to: bytes) -> bytes:
    """A UDP datagram of the server's."""
    udp = struct.pack(">HHHH", 67, 68, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, SERVER, to)
    head = head[:10] + struct.pack(">H", check(head)) + head[12:]
    return target + MAC + b"\x08\0" + head + udp


def parse(data: bytes) -> dict[int, bytes] | None:
    """The options of a client's message, and under 0 the message; None: it is none."""
    if data[12:14] != b"\x08\0" or data[23] != 17 or data[36:38] != b"\0C" or data[278:282] != COOKIE:
        return None
    options, at = {0: data[42:]}, 282
    while data[at] != 255:
        length = data[at + 1]
        options[data[at]] = data[at + 2 : at + 2 + length]
        at += 2 + length
    return options


def answer(asked: dict[int, bytes], options: dict[int, Any]) -> bytes:
    """A reply; option 0 is the address, -1 another transaction's number, -2 whom it is sent to instead of everybody."""
    message = asked[0]
    transaction = options.get(-1, message[4:8])
    text = b"\2\1\6\0" + transaction + bytes(8) + bytes(options.get(0, (0, 0, 0, 0))) + bytes(8) + message[28:44]
    text += bytes(192) + COOKIE
    for number, value in options.items():
        if number > 0:
            text += bytes((number, len(value))) + bytes(value)
    return frame(text + b"\xff", message[28:34], bytes(options.get(-2, b"\xff" * 4)))


def listen(tap: int) -> tuple[bytes, dict[int, bytes]] | None:
    """A frame with a client's message, and that; None: it was another one.  Who asks for the server's MAC is told."""
    data = os.read(tap, 2048)
    if data[12:14] == b"\x08\x06" and data[38:42] == SERVER:
        os.write(tap, data[6:12] + MAC + data[12:21] + b"\2" + MAC + SERVER + data[22:32])
    asked = parse(data)
    return None if asked is None else (data, asked)


def reply(tap: int, asked: dict[int, bytes], answers: list[dict[int, Any]]) -> None:
    """On a busy host a client has repeated its question before it is answered: it was asked once."""
    while answers and select.select([tap], [], [], 0)[0]:
        listen(tap)
    for options in answers:
        os.write(tap, answer(asked, options))


def card() -> int:
    """A new card."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"card0", IFF_TAP | IFF_NO_PI))
    return tap


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def another_card(tap: int, client: int) -> int:
    """One in the place of that, before the client can look."""
    os.kill(client, signal.SIGSTOP)
    while Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass
    os.close(tap)
    tap = card()
    os.kill(client, signal.SIGCONT)
    return tap


class Writes:
    """Of files in a folder: a lease's name servers are written when all else of it is in place."""

    def __init__(self, folder: str) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = library.inotify_init1(IN_NONBLOCK)
        assert library.inotify_add_watch(self.descriptor, folder.encode(), IN_CLOSE_WRITE) > 0

    def forget(self) -> None:
        """Those that were."""
        while select.select([self.descriptor], [], [], 0)[0]:
            os.read(self.descriptor, 4096)

    def wait(self) -> None:
        """For one."""
        assert select.select([self.descriptor], [], [], 60)[0], "no lease was taken"


def main() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET | CLONE_NEWNS):
        raise PermissionError(ctypes.get_errno(), "no namespace of its own")
    script = ast.literal_eval(sys.stdin.read())
    for command in (
        "mount --make-rprivate /", "mount -t sysfs none /sys", "mount -t tmpfs none /etc", "ip link set lo up",
        "ip addr add 192.0.2.1/32 dev lo",  # an address that is not the card's
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    writes = Writes("/etc")
    tap = card()
    heard: list[dict[Any, Any]] = []
    with subprocess.Popen([sys.argv[1]], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as probe:
        assert probe.stdout is not None and probe.stderr is not None
        is_up, said = False, ""
        while script or not is_up:
            descriptors = [tap] if is_up else [tap, probe.stdout.fileno()]
            readable = select.select(descriptors, [], [], 8)[0]
            assert readable, (heard, said)
            if probe.stdout.fileno() in readable:
                is_up, said = True, os.read(probe.stdout.fileno(), 4096).decode()
            got = listen(tap) if tap in readable else None
            if got is not None:
                data, asked = got
                told: dict[Any, Any] = {name: list(value) for name, value in asked.items() if name}
                assert check(data[14:34]) == 0
                source = ".".join(map(str, data[26:30]))
                heard.append({**told, "client": list(asked[0][12:16]), "flags": asked[0][10], "source": source})
                if len(script) == 1 or script[1:2] == ["anew"]:
                    writes.forget()
                reply(tap, asked, script.pop(0) if script else [])
                if script[:1] == ["anew"]:
                    writes.wait()
                    del script[0]
                    (client,) = children(probe.pid)
                    tap = another_card(tap, client)
        writes.wait()  # the last answer was sent a moment ago
        resolv = Path("/etc/resolv.conf")
        addresses, routes = (
            json.loads(subprocess.run(["ip", "-j", "-4", *words], capture_output=True, check=True).stdout)
            for words in (["addr", "show", "dev", "card0"], ["route"])
        )
        for child in children(probe.pid):
            os.kill(child, signal.SIGKILL)
        probe.kill()
        complaints = probe.stderr.read().decode()
    found = {"resolv": resolv.read_text() if resolv.exists() else "", "card": addresses[0], "routes": routes}
    print(json.dumps({"heard": heard, "said": said, "complaints": complaints, **found}))


main()
