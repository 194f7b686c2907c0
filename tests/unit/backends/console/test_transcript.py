"""What a guest says on its console, searched and waited for."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xenia.backends.console.sink import CallbackSink, Sink
from xenia.backends.console.transcript import Transcript


class Slow(Sink):
    """Takes half of what it is given."""

    def write(self, data: bytes) -> int:
        return (len(data) + 1) // 2

    def fileno(self) -> int:
        return 7


def transcript(*said: bytes) -> Transcript:
    found = Transcript(CallbackSink(lambda data: None))
    for piece in said:
        found.write(piece)
    return found


@contextmanager
def meanwhile(*calls: object) -> Iterator[None]:
    """Another thread does that."""
    thread = threading.Thread(target=lambda: [call() for call in calls])  # type: ignore[operator]
    thread.start()
    yield
    thread.join()


def test_what_was_found_is_read_and_the_next_begins_behind_it() -> None:
    console = transcript(b"login: root\r\nlogin: ")
    assert console.expect("login: ").span() == (0, 7)
    match = console.expect(r"login: $")
    assert match.string[: match.start()] == "root\r\n"
    with pytest.raises(TimeoutError):
        console.expect("login", timeout=0)
    assert console.search("login", timeout=0).start() == 0  # whoever has read it


def test_what_comes_in_pieces_is_found_when_it_is_whole() -> None:
    console = transcript(b"lo")
    with meanwhile(lambda: console.write(b"gi"), lambda: console.write(b"n: x")):
        assert console.expect("login: ")[0] == "login: "
    assert console.expect("x")


def test_text_and_bytes_are_looked_for_as_what_they_are() -> None:
    console = transcript("grüß".encode(), b"\xff\xfe", "ö1ö2".encode())
    assert console.expect("ü").start() == 2
    assert console.expect(b"\xff").start() == 2  # of what is left: two bytes of ß before
    assert console.expect(re.compile(r"Ö(\d)", re.I))[1] == "1"
    assert console.expect(re.compile(b"\\d"))[0] == b"2"
    assert console.text.encode("utf-8", "surrogateescape") == "grüß".encode() + b"\xff\xfe" + "ö1ö2".encode()


def test_the_newest_is_kept_and_what_is_gone_is_not_read_twice() -> None:
    console = transcript(b"first ", b"x" * Transcript.KEPT)
    assert len(console.text) == Transcript.KEPT and "first" not in console.text
    assert console.expect("x{8}$")
    console.write(b"y" * (Transcript.KEPT // 2))
    with pytest.raises(TimeoutError):
        console.expect("x", timeout=0)
    assert console.expect("y")


def test_only_what_was_taken_is_kept_and_the_sink_tells_when_it_takes_more() -> None:
    console = Transcript(Slow())
    assert (console.write(b"abcd"), console.text, console.fileno()) == (2, "ab", 7)


def test_an_end_and_a_time_that_is_over_tell_the_last_lines() -> None:
    console = transcript(*(b"line %d\r\n" % number for number in range(20)))
    with pytest.raises(TimeoutError, match=r"(?s)no 'never' within 0.01 s; it said last:\nline 11\n.*line 19$"):
        console.expect("never", timeout=0.01)
    with meanwhile(console.end), pytest.raises(EOFError, match="ended without 'never'"):
        console.expect("never", timeout=None)
    with pytest.raises(TimeoutError, match="it has said nothing"):
        transcript().expect("a", timeout=0)
    assert console.expect("line 19")  # it was said before


def test_a_guest_that_goes_on_is_waited_for_again() -> None:
    console = transcript()
    console.end()
    console.begin()
    with meanwhile(lambda: console.write(b"here")):
        assert console.expect("here", timeout=None)


def test_a_function_is_asked_again_and_may_look_itself() -> None:
    console, answers = transcript(b"a"), iter([None, 0, "found"])
    assert console.wait(lambda: console.text and next(answers), None, "answer", every=0.001) == "found"


def test_a_function_that_waits_keeps_nobody_from_speaking() -> None:
    console = transcript()

    def look() -> str:
        with meanwhile(lambda: console.write(b"more")):
            pass
        return console.text

    assert console.wait(look, 10, "answer") == "more"
