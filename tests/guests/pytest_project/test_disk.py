"""Each of these tests has a guest of its own."""

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.xenia(disks="data.img,cow")
def test_a_disk_is_written_in_the_guest_alone(guest: Any) -> None:
    before = Path("data.img").read_bytes()
    script = (
        "until [ -b /dev/xvda ]; do sleep 0.1; done; head -c 5 /dev/xvda; echo other > /dev/xvda; head -c 5 /dev/xvda"
    )
    assert guest.run(script, timeout=120, check=True, text=True).stdout == "firstother"
    assert Path("data.img").read_bytes() == before


@pytest.mark.xenia(kernel="demo", memory="16M")
def test_what_a_guest_said_is_told_when_a_test_fails(guest: Any) -> None:
    guest.console.expect("> ")
    guest.console.send(b"time\r")
    guest.console.expect("> ")
    raise AssertionError("on purpose")
