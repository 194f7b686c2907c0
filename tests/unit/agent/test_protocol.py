"""The host's end of the agent's protocol: bytes in, events out."""

import pytest
from hypothesis import given, strategies as st

from xenia.agent.protocol import (
    MAX_PAYLOAD,
    AgentConnection,
    ConsoleText,
    CreditGranted,
    Event,
    Exited,
    Killed,
    RecordType,
    Rings,
    Started,
    Stderr,
    Stdout,
    record,
)

HELLO = record(RecordType.HELLO, b"\x01\x00\x10\x00\x00")
CONVERSATION = (
    b"[    1.0] Run /init as init process\r\n"
    + HELLO
    + record(RecordType.STDOUT, b"one ")
    + record(RecordType.STDOUT, b"two")
    + record(RecordType.STDERR, b"bad\n")
    + b"\x10[    2.0] kernel says\r\n"
    + record(RecordType.STDOUT, bytes(range(MAX_PAYLOAD)))
    + record(RecordType.CREDIT, b"\x05\x00\x00\x00")
    + record(RecordType.EXITED, b"\x07\x00\x00\x00")
    + b"reboot: Power down"
)
EVENTS = [
    ConsoleText(b"[    1.0] Run /init as init process\r\n"),
    Started(1),
    Stdout(b"one two"),
    Stderr(b"bad\n"),
    ConsoleText(b"\x10[    2.0] kernel says\r\n"),
    Stdout(bytes(range(MAX_PAYLOAD))),
    CreditGranted(),
    Exited(7),
    ConsoleText(b"reboot: Power down"),
]


def joined(events: list[Event]) -> list[Event]:
    """Adjacent data events of a kind as one."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        for kind in (ConsoleText, Stdout, Stderr):
            if isinstance(event, kind) and isinstance(last, kind):
                result[-1] = kind(last.data + event.data)
                break
        else:
            result.append(event)
    return result


def test_a_conversation_fed_whole() -> None:
    assert AgentConnection().receive(CONVERSATION) == EVENTS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 257])
def test_a_conversation_fed_in_pieces_gives_the_same_events(size: int) -> None:
    connection = AgentConnection()
    events: list[Event] = []
    for at in range(0, len(CONVERSATION), size):
        events += connection.receive(CONVERSATION[at : at + size])
    assert joined(events) == EVENTS


def test_no_input_may_be_sent_before_the_command_runs() -> None:
    connection = AgentConnection()
    assert connection.credit == 0
    with pytest.raises(ValueError, match="credit for 0"):
        connection.send_input(b"x")


def test_input_uses_up_credit_and_credit_comes_back() -> None:
    connection = AgentConnection()
    connection.receive(HELLO)
    assert connection.credit == 4096
    sent = connection.send_input(b"a" * 300)
    assert sent == record(RecordType.STDIN, b"a" * MAX_PAYLOAD) + record(RecordType.STDIN, b"a" * (300 - MAX_PAYLOAD))
    assert connection.credit == 3796
    assert connection.receive(record(RecordType.CREDIT, b"\x2c\x01\x00\x00")) == [CreditGranted()]
    assert connection.credit == 4096


@pytest.mark.parametrize("window", [0, 100, 1 << 31])
def test_the_guest_cannot_begin_again_with_another_credit(window: int) -> None:
    connection = AgentConnection()
    connection.receive(HELLO)
    again = record(RecordType.HELLO, b"\x01" + window.to_bytes(4, "little"))
    assert connection.receive(again) == [ConsoleText(again)]
    rings = record(RecordType.RINGS, bytes(9))
    assert connection.receive(rings) == [ConsoleText(rings)]
    assert connection.credit == 4096


def test_credit_before_the_command_runs_is_none() -> None:
    connection = AgentConnection()
    early = record(RecordType.CREDIT, b"\xff\xff\xff\xff")
    assert connection.receive(early) == [ConsoleText(early)]
    assert connection.credit == 0


def test_credit_without_end_is_a_number_with_a_limit() -> None:
    connection = AgentConnection()
    connection.receive(HELLO + 3 * record(RecordType.CREDIT, b"\xff\xff\xff\xff"))
    assert connection.credit == 1 << 32


def test_rings_are_named_by_their_port_and_reference() -> None:
    connection = AgentConnection()
    payload = b"\x01" + (9).to_bytes(4, "little") + (300).to_bytes(4, "little")
    assert connection.receive(record(RecordType.RINGS, payload)) == [Rings(1, 9, 300)]
    assert connection.credit == 0


def test_after_the_end_of_input_there_is_no_credit() -> None:
    connection = AgentConnection()
    connection.receive(HELLO)
    assert connection.send_end_of_input() == record(RecordType.STDIN_END)
    assert connection.credit == 0


def test_a_signal_that_killed_the_command_is_told() -> None:
    assert AgentConnection().receive(record(RecordType.KILLED, b"\x09\x00\x00\x00")) == [Killed(9)]


def test_a_signal_is_sent_by_number() -> None:
    assert AgentConnection().send_signal(2) == record(RecordType.SIGNAL, b"\x02")


@pytest.mark.parametrize(
    "text",
    [
        b"\x10\xf5X not a record at all",
        record(RecordType.STDOUT, b"abc")[:6] + b"\0\0abc",
        record(RecordType.HELLO, b"short"[:3]),
        record(RecordType.STDIN, b"from the wrong side"),
    ],
)
def test_what_only_looks_like_a_record_is_console_text(text: bytes) -> None:
    connection = AgentConnection()
    assert joined(connection.receive(text) + connection.end()) == [ConsoleText(text)]


def test_a_record_that_never_ends_becomes_console_text_at_the_end() -> None:
    connection = AgentConnection()
    whole = record(RecordType.STDOUT, b"abc")
    assert connection.receive(whole[:-1]) == []
    assert connection.end() == [ConsoleText(whole[:-1])]
    assert connection.end() == []


@given(st.lists(st.binary(max_size=40) | st.sampled_from([HELLO, HELLO[:5], b"\x10\xf5", b"\x10\xf5X\x02\xff\xff"])))
def test_any_bytes_give_events_and_none_is_lost(pieces: list[bytes]) -> None:
    whole, parts = AgentConnection(), AgentConnection()
    data = b"".join(pieces)
    events = [event for piece in pieces for event in parts.receive(piece)] + parts.end()
    assert joined(whole.receive(data) + whole.end()) == joined(events)
    if not any(isinstance(event, (Started, CreditGranted, Exited, Killed, Stdout, Stderr)) for event in events):
        assert b"".join(event.data for event in events if isinstance(event, ConsoleText)) == data
