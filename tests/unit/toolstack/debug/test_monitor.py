"""What is typed behind `monitor`: words that are wrong.  What the commands tell is in tests/guests/test_gdb.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from xenia.abi.xs_wire import XsdError
from xenia.toolstack.debug import monitor as module
from xenia.toolstack.debug.monitor import Monitor
from xenia.xenstore.error import StoreError


class Store:
    """One without nodes."""

    def read(self, path: str) -> str:
        """Refused as the real one does."""
        raise StoreError(XsdError.ENOENT if path.startswith("/") else XsdError.EINVAL)


@pytest.fixture
def monitor() -> Monitor:
    domain = SimpleNamespace(xenstore=Store(), domid=1, handle=SimpleNamespace(max_vcpus=1))
    return Monitor(cast(Any, SimpleNamespace(domain=domain, vcpus=[0])))


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("walk xyz", "'xyz' is no address, 0xffffffff81000000 say"),
        ("walk 0x1ffffffffffffffff", "'0x1ffffffffffffffff' is no address, 0xffffffff81000000 say"),
        ("walk 0x10 first", "'first' is no vcpu's number"),
        ("walk 0x10 1", "there is no vcpu 1"),
        ("walk 1 2 3", "monitor walk ADDRESS [VCPU]"),
        ("trace show x", "'x' is no number"),
        ("trace show 0", "show how many of the newest, 1 to 4096"),
        ("xenstore /nosuch", "/nosuch: there is no such node"),
        ("xenstore a//b", "a//b: this is no path of a node"),
        ("xenstore /a /b", "monitor xenstore [PATH]"),
        ("kaslr now", "monitor kaslr takes no more words"),
        ("events 7", "monitor events takes no more words"),
        ("fly", "there is no command 'fly': monitor help lists them"),
    ],
)
def test_a_wrong_word_is_told_in_a_line(monitor: Monitor, line: str, answer: str) -> None:
    assert monitor.do(line) == answer + "\n"


@pytest.mark.parametrize(("offset", "says"), [("1f000000", "is 0x1f000000 from"), ("far", "that tells")])
def test_a_kernel_that_says_nonsense_of_where_it_is_leaves_the_debugger_in(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch, offset: str, says: str
) -> None:
    monkeypatch.setattr(module, "vmcoreinfo", lambda _: f"OSRELEASE=6\nKERNELOFFSET={offset}\n".encode())
    assert says in monitor.do("kaslr")
    assert monitor.offsets().startswith(b"Text=1f000000;" if offset == "1f000000" else b"Text=0;")
