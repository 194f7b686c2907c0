import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader

from xenia.errors import ConfigError
from xenia.net.layers.capture import Capture
from xenia.net.layers.stack import build, layers_of
from xenia.net.layers.words import parse_layers
from xenia.testing.net import Behind, Card
from xenia.testing.packet import Packet

MAC = "00:16:3e:00:00:01"
SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6


def frame(number: int, size: int = 100) -> bytes:
    return bytes(Ether(src=MAC, dst="00:16:3e:00:00:02") / IP() / UDP() / number.to_bytes(4)).ljust(size, b"x")


class Block:
    """A block of a file: its kind, its body, its options by code."""

    FIXED: ClassVar = {SECTION: 16, INTERFACE: 8, STATISTICS: 12, PACKET: 20}

    def __init__(self, kind: int, body: bytes) -> None:
        self.kind, self.body = kind, body
        at = self.FIXED[kind]
        if kind == PACKET:
            _, high, low, self.kept, self.length = struct.unpack_from("=IIIII", body)
            self.time = high << 32 | low
            self.data = body[at : at + self.kept]
            at += self.kept + -self.kept % 4
        self.options: dict[int, bytes] = {}
        while (code := struct.unpack_from("=H", body, at)[0]) != 0:
            (size,) = struct.unpack_from("=H", body, at + 2)
            self.options[code] = body[at + 4 : at + 4 + size]
            at += 4 + size + -size % 4
        assert body[at:] == bytes(4)


def blocks(path: Path) -> list[Block]:
    """All of a file, which has nothing but whole ones."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        assert struct.unpack_from("=I", data, at + length - 4)[0] == length and length % 4 == 0
        found.append(Block(kind, data[at + 8 : at + length - 4]))
        at += length
    return found


def packets(path: Path) -> list[bytes]:
    return [block.data for block in blocks(path) if block.kind == PACKET]


def begin(layer: Capture, path: Path, **options: Any) -> None:
    layer.start(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), **options)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def network() -> Behind:
    return Behind()


@pytest.fixture
def layer(network: Behind) -> Capture:
    return Capture(network, "vif1.0", MAC)


@pytest.fixture
def card(layer: Capture) -> Iterator[Card]:
    card = Card(layer)
    yield card
    card.close()
    layer.stop()


def test_what_goes_by_both_ways_is_in_the_file_between_a_head_and_an_end(
    card: Card, layer: Capture, network: Behind, tmp_path: Path
) -> None:
    before = time.time_ns()
    begin(layer, tmp_path / "x")
    assert card.send(frame(1), frame(2, 1500)) == 2
    network.come(frame(3))
    layer.stop()
    assert card.send(frame(4)) == 1
    after = time.time_ns()
    section, interface, first, second, third, end = blocks(tmp_path / "x")
    assert section.body[:16] == struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1)
    assert section.options[2].decode() == os.uname().machine and b"Linux" in section.options[3]
    assert section.options[4] == b"xenia"
    assert struct.unpack("=HHI", interface.body[:8]) == (1, 0, 262144)
    assert interface.options == {2: b"vif1.0", 6: bytes.fromhex(MAC.replace(":", "")), 9: b"\x09"}
    assert [block.data for block in (first, second, third)] == [frame(1), frame(2, 1500), frame(3)]
    assert [struct.unpack("=I", block.options[2])[0] & 3 for block in (first, second, third)] == [2, 2, 1]
    assert before <= first.time <= second.time <= third.time <= after
    assert struct.unpack("=Q", end.options[4]) == (3,) and struct.unpack("=Q", end.options[5]) == (0,)


def test_others_read_the_same(card: Card, layer: Capture, network: Behind, tmp_path: Path) -> None:
    begin(layer, tmp_path / "x.pcapng")
    sent = [frame(number) for number in range(50)]
    card.send(*sent)
    card.send(Packet(frame(99, 65000), flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16))
    layer.stop()
    with PcapNgReader(str(tmp_path / "x.pcapng")) as reader:
        assert [bytes(packet) for packet in reader] == [*sent, frame(99, 65000)]
    if shutil.which("tcpdump"):
        read = subprocess.run(
            ["tcpdump", "-nr", tmp_path / "x.pcapng"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        assert len(read.stdout.splitlines()) == 51


def test_a_file_has_whole_blocks_while_it_grows(card: Card, layer: Capture, tmp_path: Path) -> None:
    begin(layer, tmp_path / "x")
    for number in range(20):
        card.send(frame(number))
        until(lambda number=number: len(packets(tmp_path / "x")) == number + 1)
    assert packets(tmp_path / "x")[-1] == frame(19)


def test_only_so_much_of_each_frame_is_kept(card: Card, layer: Capture, tmp_path: Path) -> None:
    begin(layer, tmp_path / "x", snaplen=65)
    card.send(frame(1, 1000), frame(2, 62))
    layer.stop()
    first, second = blocks(tmp_path / "x")[2:4]
    assert (first.data, first.length) == (frame(1, 1000)[:65], 1000)
    assert (second.data, second.length) == (frame(2, 62), 62)


def test_it_ends_where_the_file_has_its_size(card: Card, layer: Capture, tmp_path: Path) -> None:
    begin(layer, tmp_path / "x", limit=20000)
    for number in range(60):
        assert card.send(frame(number, 1000)) == 1
    until(lambda: not layer.capturing)
    layer.stop()
    assert 18000 < (tmp_path / "x").stat().st_size <= 20000
    found = blocks(tmp_path / "x")
    assert [block.data for block in found[2:-1]] == [frame(number, 1000) for number in range(len(found) - 3)]
    assert found[-1].kind == STATISTICS
    begin(layer, tmp_path / "y")
    card.send(frame(7))
    layer.stop()
    assert packets(tmp_path / "y") == [frame(7)], "another one may begin"


def test_what_was_not_sent_is_captured_when_it_is(card: Card, layer: Capture, network: Behind, tmp_path: Path) -> None:
    begin(layer, tmp_path / "x")
    network.room = 1
    assert card.send(frame(1), frame(2), frame(3)) == 1
    network.make_room(1)
    assert card.send(frame(2), frame(3)) == 1
    network.make_room(None)
    assert card.send(frame(3)) == 1
    layer.stop()
    assert packets(tmp_path / "x") == [frame(1), frame(2), frame(3)]
    assert layer.counts()["capture"]["received"] == 3


def test_a_slow_reader_loses_frames_and_stalls_nobody(card: Card, layer: Capture) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    layer.start(writer)
    while layer.counts()["capture"]["lost"] < 100:
        assert card.send(*[frame(0, 60000)] * 20) == 20
    lost = layer.counts()["capture"]["lost"]
    missing, last = 0, b""
    with open(reader, "rb") as file:

        def read() -> Block:
            kind, length = struct.unpack("=II", file.read(8))
            return Block(kind, file.read(length - 8)[:-4])

        kept = layer.counts()["capture"]["received"] - lost
        for number in range(2 + kept + 1):
            if number == 2 + kept:
                card.send(frame(1))
            block = read()
            missing += int.from_bytes(block.options.get(4, b""), "little") if block.kind == PACKET else 0
            last = block.data if block.kind == PACKET else b""
    assert last == frame(1)
    assert missing == lost, "blocks say how many are missing before them"
    layer.stop()


def test_a_full_disk_loses_frames_and_the_file_stays_whole(card: Card, layer: Capture, tmp_path: Path) -> None:
    """A limit of the process's is met as a full disk is: in the middle of a block."""
    program = """
import os, resource, signal, sys
from xenia.net.layers.capture import Capture
from xenia.testing.net import Behind, Card
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, resource.RLIM_INFINITY))
layer = Capture(Behind())
card = Card(layer)
layer.start(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT))
for number in range(30):
    card.send(bytes([number]) * 1000)
layer.stop()
counts = layer.counts()["capture"]
print(counts["written"], counts["lost"], counts["error"])
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "x"], capture_output=True, text=True, check=True)
    written, lost, error = done.stdout.split(maxsplit=2)
    assert int(written) + int(lost) == 30 and int(lost) > 15 and "File too large" in error
    assert packets(tmp_path / "x") == [bytes([number]) * 1000 for number in range(int(written))]


def test_a_reader_that_goes_ends_it(card: Card, layer: Capture) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    layer.start(writer)
    assert not layer.capturing, "even before anything goes by"
    assert card.send(frame(1)) == 1
    until(lambda: "error" in layer.counts()["capture"])
    assert "pipe" in layer.counts()["capture"]["error"]


def test_there_is_one_at_a_time(layer: Capture, tmp_path: Path) -> None:
    begin(layer, tmp_path / "x")
    with open(tmp_path / "y", "wb") as file, pytest.raises(ConfigError, match="is being captured already"):
        layer.start(file.fileno())
    layer.stop()
    layer.stop()
    assert not layer.capturing


def test_a_word_captures_where_it_stands(tmp_path: Path) -> None:
    specs = parse_layers([("capture", str(tmp_path / "x.pcapng")), ("capture", f"{tmp_path}/y.pcapng:snaplen=1K")])
    stack = build(specs, Behind(), mac=MAC, name="vif2.0")
    card = Card(stack)
    card.send(frame(1), b"spoofed".ljust(60))
    assert [layer.counts().get("capturing") for layer in layers_of(stack)] == [False, None, True, True]
    card.close()
    stack.close()
    assert packets(tmp_path / "x.pcapng") == packets(tmp_path / "y.pcapng") == [frame(1)]


def test_files_may_be_opened_by_somebody_else(tmp_path: Path) -> None:
    specs = parse_layers([("capture", "/nowhere/x"), ("capture", "/nowhere/y:snaplen=64")])
    opened = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("x", "y")]
    stack = build(specs, Behind(), mac=MAC, opened=opened)
    card = Card(stack)
    card.send(frame(1))
    card.close()
    stack.close()
    assert packets(tmp_path / "x") == [frame(1)] and packets(tmp_path / "y") == [frame(1)[:64]]
    with pytest.raises(ConfigError, match="cannot capture into /nowhere/y: No such file or directory"):
        build(specs, Behind(), mac=MAC)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(14, 3000), st.integers(0, 3)), max_size=40))
def test_the_file_is_what_was_taken_whatever_is_refused(sizes: list[tuple[int, int]]) -> None:
    network = Behind()
    layer = Capture(network)
    card = Card(layer)
    reader = os.memfd_create("capture")
    layer.start(os.dup(reader))
    taken = []
    for number, (size, room) in enumerate(sizes):
        batch = [bytes([number]) * size] * 2
        network.room = room
        taken += batch[: card.send(*batch)]
    layer.stop()
    card.close()
    assert packets(Path(f"/proc/self/fd/{reader}")) == taken
    os.close(reader)
