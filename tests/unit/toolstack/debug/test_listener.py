"""Where debuggers come in, as far as that cannot be."""

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.debug.listener import listen


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("65536", "at port 65536: the last one is 65535"),
        ("99999999", "at port 99999999: the last one is 65535"),
        ("9" * 5000, "at port 9+: the last one is 65535"),
        ("eins", "gdb eins: say a port of this host's, or unix:PATH"),
    ],
)
def test_a_port_that_there_is_not_is_told_as_it_was_said(words: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        listen(words, "web")
    assert len(str(raised.value)) < 200
