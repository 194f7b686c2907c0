"""Two vcpus of a hostile kernel do the same to the same things at the same moment."""

import pytest

from bench.peers import Answer
from tests.guests.tiny import Running

pytestmark = pytest.mark.guest

ANSWER = """\
initialise: 0
up: 0
initialised by one of both: -17
up: 0
events there and back: 1000
down again, grants used: 1
unpin what is not pinned: -22
the page can be written again: 0"""


def test_what_two_vcpus_do_at_once_is_refused_or_done_whole() -> None:
    with Running("races", vcpus=3, scatter=1) as guest:
        assert guest.answer(100) == Answer(tuple(ANSWER.splitlines()), "poweroff")
        assert guest.domain.audit() == []
