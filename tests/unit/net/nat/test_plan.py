"""What may be a network of guests."""

import pytest

from xenia.errors import ConfigError
from xenia.net.nat.plan import Plan


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ("10.0.0.0/8", "between 16 and 29 bits"),
        ("10.0.2.0/30", "between 16 and 29 bits"),
        ("0.0.0.0/16", "cannot have such addresses"),
        ("127.0.0.0/16", "cannot have such addresses"),
        ("169.254.0.0/16", "cannot have such addresses"),
        ("224.0.0.0/16", "cannot have such addresses"),
        ("240.0.0.0/16", "cannot have such addresses"),
        ("10.0.2.1/24", "no IPv4 subnet"),
    ],
)
def test_a_subnet_that_no_guests_can_have_is_refused(subnet: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Plan.read(subnet, "", "test", 1500)
