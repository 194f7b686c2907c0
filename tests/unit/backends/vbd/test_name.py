"""The numbers of virtual block devices, as xen-vbd-interface(7) has them."""

import pytest

from xenia.backends.vbd.name import device_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("xvda", 202 << 8),
        ("xvdb", 202 << 8 | 16),
        ("xvda1", 202 << 8 | 1),
        ("xvdp15", 202 << 8 | 255),
        ("xvdq", 1 << 28 | 16 << 8),
        ("xvda16", 1 << 28 | 16),
        ("xvdaa3", 1 << 28 | 26 << 8 | 3),
        ("sda", 8 << 8),
        ("sdb2", 8 << 8 | 18),
        ("hda", 3 << 8),
        ("hdb63", 3 << 8 | 127),
        ("hdc", 22 << 8),
        ("d0", 202 << 8),
        ("d20p5", 1 << 28 | 20 << 8 | 5),
    ],
)
def test_devices_have_the_numbers_of_their_names(name: str, number: int) -> None:
    assert device_number(name) == number


@pytest.mark.parametrize(
    "name", ["", "xvd", "xvdA", "xvda256", "sdq", "sda16", "hde", "hda64", "d", "dp1", "d1048576", "fd0"]
)
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(ValueError):
        device_number(name)
