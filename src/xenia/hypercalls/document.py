"""docs/hypercalls.md from the table that dispatches: `python -m xenia.hypercalls.document > docs/hypercalls.md`."""

from html import escape

from xenia.hypercalls.rows import Row
from xenia.hypercalls.table import rows

HEAD = """\
# Hypercalls

Generated from the hypercall table by `python -m xenia.hypercalls.document`; do not edit.

Answers follow Xen 4.17 as an ordinary, unprivileged 64-bit PV domain sees it. *supported* is everything such a domain
may use; *partial* says what is missing; *refused* says what Xen answers such a domain. Numbers that are not
listed are `-ENOSYS`. *Lock* is what is held while one is carried out: `vcpu` nothing, because it touches only what is
the vcpu's own, and the guest's memory; `turn` the domain's turn, which excludes its other vcpus; `mmu` also the lock of
the domain's frames and page tables. *Guests* are those whose ABI has it: `pv64`, 64-bit PV.

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
    guests = ", ".join(row.guests)
    return f"| {row.number} | `{row.name}` | {arguments} | {row.lock} | {guests} | {row.support} | {note} |\n"


if __name__ == "__main__":
    print(document(), end="")
