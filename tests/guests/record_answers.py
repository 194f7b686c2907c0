"""Ask real Xen what the behaviour guests print, and keep it in tests/guests/answers.

python -m tests.guests.record_answers [NAME...]
"""

import sys

from bench import peers
from guests import build as guests
from tests.guests.tiny import ANSWERS, behaviours


def ask(names: list[str]) -> dict[str, peers.Answer]:
    """Build the named guests and run them on real Xen."""
    return peers.real_xen({n: peers.Program(guests.build(n, guests.OUTPUT / n).read_bytes()) for n in names})


def text(answer: peers.Answer) -> str:
    """An answer as it is kept."""
    return "".join(f"{line}\n" for line in (*answer.lines, f"== {answer.ending}"))


if __name__ == "__main__":
    ANSWERS.mkdir(exist_ok=True)
    for name, answer in ask(sys.argv[1:] or behaviours()).items():
        (ANSWERS / f"{name}.txt").write_text(text(answer))
        print(f"{name}: {len(answer.lines)} lines, {answer.ending}")
