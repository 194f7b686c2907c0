"""Xenia's words for another program."""

import json
import os
from pathlib import Path

import pytest

from xenia.cli.json_voice import JsonVoice
from xenia.cli.main import command
from xenia.errors import ConfigError
from xenia.toolstack.run import Ending, Outcome


def test_each_word_is_an_object_that_says_what_it_is(tmp_path: Path) -> None:
    with (tmp_path / "words").open("w+") as file:
        voice = JsonVoice(file.fileno())
        voice.say("news")
        voice.warn('a "warning"')
        voice.error("wrong\n")
        voice.plain("one\ntwo")
        voice.progress("fetching", 1, 2)
        voice.busy("booting")
        voice.clear()
        voice.ended(Outcome(Ending.COMMAND, status=137, killed=9))
        words = list(map(json.loads, (tmp_path / "words").read_text().splitlines()))
    assert words[:4] == [{"news": "news"}, {"warning": 'a "warning"'}, {"error": "wrong\n"}, {"text": "one\ntwo"}]
    assert words[4:] == [{"ending": "command", "status": 137, "killed": 9, "reason": ""}]


def test_a_quiet_one_keeps_news_back_alone(tmp_path: Path) -> None:
    with (tmp_path / "words").open("w+") as file:
        voice = JsonVoice(file.fileno(), quiet=True)
        voice.say("news")
        voice.warn("warning")
    assert (tmp_path / "words").read_text() == '{"warning": "warning"}\n'


def test_a_descriptor_that_is_none_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--status-fd 999: Bad file descriptor"):
        JsonVoice(999)
    assert command(["run", "--status-fd", "999"]) == 2
    assert capfd.readouterr().err == "xenia: --status-fd 999: Bad file descriptor\n"


def test_an_error_before_there_is_a_guest_is_told_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    descriptor = os.open(tmp_path / "words", os.O_CREAT | os.O_RDWR)
    assert command(["run", "--status-fd", str(descriptor), "--kernel", "nowhere", "--", "true"]) == 2
    os.close(descriptor)
    assert "nowhere" in json.loads((tmp_path / "words").read_text())["error"]
    assert capfd.readouterr() == ("", "")
