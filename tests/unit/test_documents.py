"""What the package shows of itself, and files that the documents name."""

import re
from pathlib import Path

import xenia

ROOT = Path(__file__).parents[2]


def test_the_package_shows_what_it_offers() -> None:
    assert {"Machine", "Domain", "ConfigError", "Result", "run"} <= set(dir(xenia))
    for name in xenia.__all__:
        assert getattr(xenia, name).__doc__, name


def test_every_file_that_the_developers_guide_names_is_there() -> None:
    guide = (ROOT / "docs" / "developing.md").read_text()
    named = set(re.findall(r"(?:src|tests|docs|guests|bench|scripts)/[\w./-]+\w/?", guide))
    to_come = {"src/xenia/net/", "src/xenia/backends/NAME/", "src/xenia/cpu/engines/NAME/engine.pyx"}
    to_come |= {"tests/guests/answers/NAME.txt", "src/xenia/abi/"}
    missing = sorted(name for name in named - to_come if not (ROOT / name).exists())
    assert missing == [] and len(named) > 40
