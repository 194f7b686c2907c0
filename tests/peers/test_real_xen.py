"""The answers that the behaviour guests are held to are those of real Xen, asked here and now."""

from __future__ import annotations

import pytest

from bench import peers
from tests.guests.record_answers import ask, text
from tests.guests.tiny import ANSWERS, behaviours

pytestmark = pytest.mark.peer


@pytest.fixture(scope="session")
def answers() -> dict[str, peers.Answer]:
    try:
        return ask(behaviours())
    except peers.Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", behaviours())
def test_real_xen_still_answers_what_is_recorded(name: str, answers: dict[str, peers.Answer]) -> None:
    assert text(answers[name]) == (ANSWERS / f"{name}.txt").read_text()
