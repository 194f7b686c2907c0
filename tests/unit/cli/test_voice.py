import io
import logging
import os
import time
from contextlib import suppress

import pytest

from xenia.cli.log_voice import VoiceHandler
from xenia.cli.voice import Voice, rough_size


class Screen(io.StringIO):
    """A terminal that keeps what was written to it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_without_a_terminal_words_are_plain_lines() -> None:
    stream = io.StringIO()
    voice = Voice(stream)
    voice.say("hello")
    voice.error("no")
    assert stream.getvalue() == "xenia: hello\nxenia: no\n"


def test_an_error_is_one_line_whatever_a_file_is_called() -> None:
    stream = io.StringIO()
    Voice(stream).error("a\nb\x1b[2Jc: No such file or directory")
    assert stream.getvalue() == "xenia: a\\nb\\x1b[2Jc: No such file or directory\n"


def test_without_a_terminal_progress_is_a_line_for_each_quarter() -> None:
    stream = io.StringIO()
    voice = Voice(stream)
    for done in range(0, 1001):
        voice.progress("fetching a.deb", done << 20, 1000 << 20)
    voice.busy("booting")
    assert stream.getvalue().splitlines() == [
        "xenia: fetching a.deb",
        "xenia: fetching a.deb: 25% of 1000M",
        "xenia: fetching a.deb: 50% of 1000M",
        "xenia: fetching a.deb: 75% of 1000M",
        "xenia: fetching a.deb: 100% of 1000M",
    ]


def test_on_a_terminal_progress_is_one_line_that_gives_way_to_the_next_word() -> None:
    screen = Screen()
    voice = Voice(screen)
    for done in range(0, 101):
        voice.progress("fetching", done, 100)
    voice.say("done")
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("\r\x1b[K\x1b[1mxenia:\x1b[0m done\r\n")
    assert "100% of 100B" in screen.getvalue()


class Window(Screen):
    """One of so many columns."""

    def fileno(self) -> int:
        return 99


@pytest.mark.parametrize("columns", [200, 40, 20, 12, 1])
@pytest.mark.parametrize(
    "name",
    ["a" * 300, "linux-image-6.1.0-57-amd64.deb", "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 60],
    ids=["long", "deb", "wide"],
)
def test_progress_is_one_line_of_the_terminal_however_narrow_it_is(
    monkeypatch: pytest.MonkeyPatch, columns: int, name: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(Voice, "_INTERVAL", 0.0)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    window = Window()
    voice = Voice(window)
    voice.progress(f"fetching {name}", 50, 100)
    voice.busy(f"copying {name}", ": 12M")
    voice.steps("unpacking", name, 3, 7)
    lines = window.getvalue().split("\r\x1b[K")[1:]
    if columns >= 40:
        assert [": 50% of 100B" in lines[0], ": 12M" in lines[1], "(3 of 7)" in lines[2]] == [True] * 3
        assert name in lines[0] or "\N{HORIZONTAL ELLIPSIS}" in lines[0]
    for line in lines:
        wide = sum(2 if one == "\N{CJK UNIFIED IDEOGRAPH-6F22}" else 1 for one in line)
        assert wide < max(columns, len("xenia: (3 of 7)xxxxxx")), line


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    voice = Voice(screen)
    voice.error("no")
    assert screen.getvalue() == "xenia: no\r\n"


def test_a_dumb_terminal_gets_no_escape_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    voice = Voice(screen)
    voice.progress("fetching", 1, 2)
    voice.busy("booting")
    voice.say("done")
    assert "\x1b" not in screen.getvalue()


def test_quiet_leaves_only_warnings_and_errors() -> None:
    screen = Screen()
    voice = Voice(screen, quiet=True)
    voice.say("hello")
    voice.progress("fetching", 1, 2)
    voice.busy("booting")
    assert screen.getvalue() == ""
    voice.error("no")
    assert "no" in screen.getvalue()
    voice.warn("a disk that looks like qcow2")
    assert "a disk that looks like qcow2" in screen.getvalue()


def test_a_reader_that_went_away_is_no_fault() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with os.fdopen(write_fd, "w", buffering=1) as stream:
        voice = Voice(stream)
        voice.say("anyone?")
        voice.error("anyone at all?")
        # The buffer still holds what nobody took; the descriptor below it is already good for nothing.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, write_fd)
        os.close(devnull)


def test_what_the_backends_log_is_said() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("xenia.test_voice")
    handler = VoiceHandler(Voice(stream, quiet=True))
    logger.addHandler(handler)
    logger.warning("d%d: ring not served", 3)
    logger.info("nothing to be said")
    logger.removeHandler(handler)
    assert stream.getvalue() == "xenia: d3: ring not served\n"


def test_a_fault_that_is_logged_is_told_with_its_traceback() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("xenia.test_voice_fault")
    handler = VoiceHandler(Voice(stream), logging.INFO)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.info("news")
    try:
        raise KeyError("x" * 3000 + "end")
    except KeyError:
        logger.exception("it failed")
    logger.removeHandler(handler)
    first, second, *rest = stream.getvalue().splitlines()
    assert (first, second) == ("xenia: news", "xenia: it failed")
    assert rest and rest[-1].endswith("xend'")


def test_who_logs_does_not_wait_for_a_standard_error_that_nobody_reads() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    with suppress(BlockingIOError):
        while os.write(write_fd, bytes(4096)):
            pass
    os.set_blocking(write_fd, True)
    logger = logging.getLogger("xenia.test_voice_blocked")
    with os.fdopen(write_fd, "w") as stream:
        handler = VoiceHandler(Voice(stream))
        logger.addHandler(handler)
        began = time.monotonic()
        for number in range(1000):
            logger.warning("d1: complaint %d", number)
        took = time.monotonic() - began
        logger.removeHandler(handler)
        os.close(read_fd)
    assert took < 5


def test_size_of_an_unknown_whole() -> None:
    stream = io.StringIO()
    voice = Voice(stream)
    voice.progress("unpacking", 0, 0)
    voice.progress("unpacking", 5 << 20, 0)
    assert stream.getvalue() == "xenia: unpacking\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1023, "1023B"), (1536, "1.5K"), (68 << 20, "68M"), (3 << 30, "3.0G")]
)
def test_rough_sizes(size: int, text: str) -> None:
    assert rough_size(size) == text


def test_steps_are_counted_and_the_one_being_taken_is_named_on_a_terminal() -> None:
    screen, stream = Screen(), io.StringIO()
    for voice in (Voice(screen), Voice(stream)):
        voice.steps("configuring", "", 0, 129)
        for done in range(1, 130):
            voice.steps("configuring", f"package{done}", done, 129)
    assert screen.getvalue().startswith("\r\x1b[K\x1b[1mxenia:\x1b[0m configuring (0 of 129)")
    assert stream.getvalue().splitlines()[:2] == ["xenia: configuring", "xenia: configuring: 33 of 129"]
    assert len(stream.getvalue().splitlines()) == 5


@pytest.mark.parametrize("stream", [io.StringIO(), Screen()])
def test_nothing_that_others_wrote_reaches_the_terminal_as_it_is(stream: io.StringIO) -> None:
    voice = Voice(stream)
    nasty = "\x1b]0;owned\x07\x9b2J\r\u202e"
    for number in range(3):
        voice.progress(nasty, number, 3)
        voice.steps(nasty, nasty, number, 3)
    voice.busy(nasty)
    voice.say(nasty)
    voice.plain(f"a\tb {nasty}\nc")
    written = stream.getvalue().replace("\r\x1b[K", "").replace("\x1b[1mxenia:\x1b[0m", "").replace("\r\n", "\n")
    assert all(one.isprintable() or one in "\n\t" for one in written)
    assert "a\tb \\x1b]0;owned" in written


def test_a_step_is_one_short_line_whatever_it_is_called() -> None:
    stream = io.StringIO()
    for number in range(100):
        Voice(stream).steps("x" * 10_000, "y" * 10_000, number, 100)
    assert max(map(len, stream.getvalue().splitlines())) < 250
