from pathlib import Path

from xenia.storage.kinds import KINDS, table

GUIDE = Path(__file__).parents[3] / "docs" / "storage.md"


def test_the_guide_lists_every_layer_and_its_options() -> None:
    listed = GUIDE.read_text().split("<!-- layers -->\n")[1].split("<!-- /layers -->")[0]
    assert listed == table(), "put the text of xenia.storage.kinds.table() there"


def test_every_option_is_explained() -> None:
    for kind in KINDS.values():
        assert kind.summary and all(kind.options.values()) and all(kind.flags.values())
