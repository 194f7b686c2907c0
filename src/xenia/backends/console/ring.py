"""The backend's end of a console page, struct xencons_interface of public/io/console.h.

Names are the guest's: it reads `in` and writes `out`.
"""

from __future__ import annotations

from xenia.abi import console
from xenia.abi.console import IN_SIZE, OUT_SIZE
from xenia.rings.pipe import Reader, Writer


class ConsoleRing:
    """The page of one console: `input` goes to the guest, `output` comes from it."""

    def __init__(self, page: memoryview) -> None:
        """Precondition: `page` is writable bytes, at least INTERFACE_SIZE of them."""

        def words(start: int) -> memoryview:
            return page[start : start + 8].cast("I")  # cons, prod

        into = page[console.IN_OFFSET : console.IN_OFFSET + IN_SIZE]
        out = page[console.OUT_OFFSET : console.OUT_OFFSET + OUT_SIZE]
        self.input = Writer(into, words(console.IN_CONS_OFFSET), prod=1, cons=0)
        self.output = Reader(out, words(console.OUT_CONS_OFFSET), prod=1, cons=0)

    def close(self) -> None:
        """Let go of the page.  Nothing else may be called afterwards."""
        self.input.close()
        self.output.close()
