"""docs/hypercalls.md from the table that dispatches: `python -m xenia.hypercalls.document > docs/hypercalls.md`."""

from html import escape

from xenia.hypercalls.rows import Row, RowLock
from xenia.hypercalls.table import rows

HEAD = """\
# Hypercalls

Generated from the hypercall table by `python -m xenia.hypercalls.document`; do not edit.

Answers follow Xen 4.17 as an ordinary, unprivileged 64-bit PV domain sees it. *supported* is everything a domain with
one vcpu may use; *partial* says what is missing; *refused* says what Xen answers such a domain. Numbers that are not
listed are `-ENOSYS`. *Lock* is what is held while one is carried out: `mmu` is the lock of the domain's frames and page
tables. *Guests* are those whose ABI has it: `pv64`, 64-bit PV.

| Number | Hypercall | Arguments | Lock | Guests | Support | Note |
|-------:|-----------|-----------|------|--------|---------|------|
"""


def document() -> str:
    """The whole page, with its final newline."""
    return HEAD + "".join(line(row) for row in rows())


def line(row: Row) -> str:
    """One row of the page's table."""
    arguments = f"`{row.arguments}`" if row.arguments else ""
    note = escape(row.note, quote=False)
    lock = "" if row.lock is RowLock.NONE else row.lock
    return (
        f"| {row.number} | `{row.name}` | {arguments} | {lock} | {', '.join(row.guests)} | {row.support} | {note} |\n"
    )


if __name__ == "__main__":
    print(document(), end="")
