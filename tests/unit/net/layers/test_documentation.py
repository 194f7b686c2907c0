"""What the guide says of filters is so."""

import re
import shlex
from pathlib import Path

import pytest

from xenia.net.layers.rules import ANY, parse_rules
from xenia.net.layers.words import WORDS, table
from xenia.toolstack.config.net import parse_card

GUIDE = (Path(__file__).parents[4] / "docs" / "networks.md").read_text()
FILTERS = GUIDE.split("## Filters\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"^    xenia run --net (.*) \.\.\.$", FILTERS, re.MULTILINE)


def test_the_guide_lists_every_word() -> None:
    listed = FILTERS.split("<!-- layers -->\n")[1].split("<!-- /layers -->")[0]
    assert listed == table(), "put the text of xenia.net.layers.words.table() there"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_card(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web.rules").write_text(FILTERS.split("<!-- rules -->")[1].split("<!-- /rules -->")[0])
    (words,) = shlex.split(example)
    card = parse_card(words)
    assert card.layers


def test_every_word_has_an_example() -> None:
    assert all(f"{word}=" in " ".join(EXAMPLES) for word in WORDS)


def test_the_file_of_rules_means_what_its_lines_say() -> None:
    rules = parse_rules(FILTERS.split("<!-- rules -->")[1].split("<!-- /rules -->")[0].splitlines()).rules
    assert [(rule.direction, rule.allow, rule.ports) for rule in rules] == [
        ("in", True, (80, 80)),
        ("in", True, (443, 443)),
        ("in", True, (22, 22)),
        ("in", False, None),
        ("out", True, (53, 53)),
        ("out", True, (443, 443)),
        ("out", False, None),
    ]
    assert rules[2].source == "10.0.0.0/8" and rules[3].protocol == ANY
