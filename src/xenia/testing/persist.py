"""What every `save` and `restore` has to hold: nobody can tell what was saved and made anew from what was not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from xenia.persist import Encoded, State, decode, encode

Thing = TypeVar("Thing")
S = TypeVar("S", bound=State)


def check(
    make: Callable[[], Thing],
    use: Callable[[Thing], object],
    save: Callable[[Thing], S],
    restore: Callable[[Thing, S], Thing],
    go_on: Callable[[Thing], object],
) -> None:
    """Make two things and use them alike; save one of them, make it anew, and go on with both.

    use, go_on  answer all that was seen of the thing meanwhile
    restore     is given the one that was saved, which is not used any more: what it was made of may be taken over

    AssertionError where a difference is seen, or the state does not survive being taken apart.
    """
    kept, saved = make(), make()
    assert use(kept) == use(saved), "two things that are used alike differ before anything was saved"
    state = through_json(save(saved))
    anew = restore(saved, state)
    assert save(anew) == state, "saved again at once, it is another state"
    assert go_on(anew) == go_on(kept), "what was made anew is not what it was"


def through_json(state: S) -> S:
    """A state as it is after it was written down and read again."""
    document, blobs = encode(state)
    again = decode(type(state), Encoded(json.loads(json.dumps(document)), blobs))
    assert again == state, "a state does not survive being taken apart"
    return again
