"""Hypercalls by the hundred thousand, drawn from a seed, made on a domain that stands still."""

from xenia.testing.still import StillDomain

def fuzz(domain: StillDomain, seed: int, calls: int) -> dict[int, int]:
    """Make `calls` hypercalls with arguments drawn from `seed`: how often each number succeeded.

    Arguments are drawn from small numbers, addresses in and around the data pages, frames of its own, of others and of
    nobody, and noise; before each call the argument page is filled the same way.  A shutdown is taken back.  Now and
    then the backends of the store and the console write something to their rings.
    """
    ...

class Fuzzer:
    """One run: the domain, and how often each hypercall succeeded."""
    def __init__(self, domain: StillDomain) -> None: ...
