from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from xenia.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XSD_SOCKMSG, MessageType, XsdError
from xenia.xenstore.error import ProtocolError
from xenia.xenstore.wire import Need, Packet, Parser, watch_event

word = st.integers(min_value=0, max_value=0xFFFFFFFF)
packets = st.builds(Packet, word, word, word, st.binary(max_size=200))


def parsed(chunks: list[bytes]) -> tuple[list[Packet], bool]:
    """All packets of a stream, and whether it broke."""
    parser = Parser()
    found: list[Packet] = []
    for chunk in chunks:
        parser.feed(chunk)
        while True:
            try:
                packet = parser.poll()
            except ProtocolError:
                return found, True
            if isinstance(packet, Need):
                break
            found.append(packet)
    return found, False


def test_a_parser_says_how_much_it_waits_for() -> None:
    parser = Parser()
    assert parser.poll() == Need(16)
    parser.feed(XSD_SOCKMSG.pack(MessageType.READ, 1, 0, 3))
    assert parser.poll() == Need(3)
    parser.feed(b"/a")
    assert parser.poll() == Need(1)
    parser.feed(b"\0")
    assert parser.poll() == Packet(MessageType.READ, 1, 0, b"/a\0")
    assert parser.pending == 0


def test_the_longest_payload_is_taken_and_one_more_is_not() -> None:
    longest = Packet(MessageType.WRITE, 0, 0, bytes(XENSTORE_PAYLOAD_MAX))
    assert parsed([longest.encode()]) == ([longest], False)
    assert parsed([XSD_SOCKMSG.pack(MessageType.WRITE, 0, 0, XENSTORE_PAYLOAD_MAX + 1)]) == ([], True)


def test_a_broken_stream_stays_broken_and_holds_nothing() -> None:
    parser = Parser()
    parser.feed(b"\xff" * 16)
    with pytest.raises(ProtocolError):
        parser.poll()
    parser.feed(bytes(16))
    with pytest.raises(ProtocolError):
        parser.poll()
    assert parser.pending == 0


def test_replies_carry_the_numbers_of_their_request() -> None:
    request = Packet(MessageType.READ, 11, 22, b"/a\0")
    assert request.reply(b"v") == Packet(MessageType.READ, 11, 22, b"v")
    assert request.refusal(XsdError.ENOENT) == Packet(MessageType.ERROR, 11, 22, b"ENOENT\0")
    assert watch_event(b"/a", b"token") == Packet(MessageType.WATCH_EVENT, 0, 0, b"/a\0token\0")


@given(st.lists(packets, max_size=8), st.data())
def test_packets_come_out_as_they_went_in_however_the_stream_is_cut(sent: list[Packet], data: st.DataObject) -> None:
    stream = b"".join(packet.encode() for packet in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(chunks) == (sent, False)


@given(st.binary(max_size=400))
def test_any_input_is_parsed_or_raises_the_protocol_error_whole_and_byte_by_byte(stream: bytes) -> None:
    assert parsed([stream]) == parsed([bytes([byte]) for byte in stream])
