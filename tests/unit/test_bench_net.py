"""bench/net.py: who does not answer is a dash in the table, and the others are measured all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import net
from bench.contenders import Failed
from bench.drives import Measured
from bench.peers import Missing


class Answering:
    """A card whose every test is `rate`; one named in `fails` gives no answer."""

    def __init__(self, rate: float, fails: set[str]) -> None:
        self.rate, self.fails, self.closed = rate, fails, False

    def wait_ready(self) -> None:
        if "ready" in self.fails:
            raise Failed("it ended")

    def processor_time(self) -> float:
        return 0.0

    def measure(self, test: str, _milliseconds: int) -> Measured:
        if test in self.fails:
            raise Failed(f"no answer to {test}")
        return Measured(self.rate, 1.0)

    def close(self) -> None:
        self.closed = True


def contenders(made: list[Answering], **fails: set[str]) -> net.Contenders:
    def starting(name: str) -> Any:
        def start(_files: object) -> Answering:
            made.append(Answering(100.0 if name == "xenia" else 50.0, fails[name]))
            return made[-1]

        return start

    files: Any = Path()
    running = net.Contenders(files, {name: (name, starting(name)) for name in fails})
    running.start()
    return running


def test_who_gives_no_answer_is_a_dash_and_is_measured_on(capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Answering] = []
    running = contenders(made, xenia=set(), uml={"in8"})
    samples = net.measure(running, ["in8", "answers"], 2, 1)
    running.close()
    assert samples["uml"]["in8"] == [None, None]
    assert [one.rate for one in samples["uml"]["answers"] if one] == [50.0, 50.0]
    net.show("a link", samples, {"xenia": "Xenia", "uml": "UML"})
    said = capsys.readouterr()
    rows = [line.split()[-2:] for line in said.out.splitlines()]
    assert ["100", "-"] in rows and ["1.00", "-"] in rows and ["100", "50"] in rows and ["1.00", "2.00"] in rows
    assert "uml: in8: no answer to in8" in said.err
    assert all(card.closed for card in made)


def test_who_does_not_start_has_dashes_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Answering] = []
    running = contenders(made, xenia=set(), uml={"ready"})
    assert net.measure(running, ["in8"], 1, 1)["uml"] == {"in8": [None]}
    assert "uml does not start: it ended" in capsys.readouterr().err
    assert made[1].closed


def test_what_is_not_to_be_had_is_left_out_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def start(_files: object) -> Any:
        raise Missing("slirp is not here")

    files: Any = Path()
    running = net.Contenders(files, {"uml-user": ("UML slirp", start)})
    running.start()
    assert running.names == []
    assert "without uml-user: slirp is not here" in capsys.readouterr().err
