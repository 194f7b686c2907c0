"""Which device of a driver domain's its backend is to serve: the number that Linux knows it by."""

from __future__ import annotations

import re

from xenia.backends.vbd.name import device_number
from xenia.errors import ConfigError

_NUMBER = re.compile(r"([0-9]{1,4}):([0-9]{1,7})")
_NODE = re.compile(r"/dev/(loop|ram|nbd|md)([0-9]{1,3})")
_XVD = re.compile(r"/dev/(xvd[a-p])([0-9]{0,2})")
# Linux's allocated devices: numbers that a node's name alone gives, on every kernel.
_MAJORS = {"ram": 1, "loop": 7, "md": 9, "nbd": 43}


def physical_device(params: str, number: str | None = None) -> str:
    """The value of the key physical-device: a device's number, in hexadecimal.

    params    the path of its node in the driver domain
    number    MAJOR:MINOR in decimal, as `ls -l` shows it there; None where the name gives it

    ConfigError: it does not, or that is no number.
    """
    if number is not None:
        if given := _NUMBER.fullmatch(number):
            return f"{int(given[1]):x}:{int(given[2]):x}"
        raise ConfigError(f"'{number}' is no device's number: use MAJOR:MINOR in decimal, such as 7:0")
    if known := _NODE.fullmatch(params):
        return f"{_MAJORS[known[1]]:x}:{int(known[2]):x}"
    if (known := _XVD.fullmatch(params)) and int(known[2] or 0) < 16:
        first = device_number(known[1])
        return f"{first >> 8:x}:{(first & 0xFF) + int(known[2] or 0):x}"
    raise ConfigError(f"the number of '{params}' does not follow from its name: give it too, as MAJOR:MINOR")
