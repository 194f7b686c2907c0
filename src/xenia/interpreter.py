"""Xenia's other processes that are Python: a module of it, run by the interpreter that runs this one.

They import from where this one does, and nothing from the folder that it happens to be in (`-P`): a `json.py` there is
somebody else's.
"""

import os
import sys
from pathlib import Path

_PACKAGES = str(Path(__file__).parents[1])


def command(module: str, *arguments: str, site: bool = True) -> list[str]:
    """What runs it.

    site   False: without looking for what `site` would find, which is in `environment` already
    """
    return [sys.executable, "-P" if site else "-PS", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """What it is run in."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [_PACKAGES, *sys.path]))}
