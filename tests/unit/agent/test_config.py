"""What the agent reads at boot."""

from __future__ import annotations

import pytest

from xenia.agent.config import AgentConfig, Mode
from xenia.agent.pairs import MAX_CONFIG
from xenia.errors import ConfigError


def test_the_configuration_is_nul_terminated_pairs() -> None:
    config = AgentConfig(
        Mode.COMMAND,
        args=["cat", b"\xff", "ä"],
        environment={"A": "b=c"},
        modules=["/m.ko"],
        hostname="guest",
        rows=24,
        columns=80,
        greeting="hi\n",
    )
    assert config.encode().split(b"\0") == [
        b"mode=command",
        b"cwd=/",
        b"hostname=guest",
        b"greeting=hi\n",
        b"rows=24",
        b"columns=80",
        b"module=/m.ko",
        b"env=A=b=c",
        b"arg=cat",
        b"arg=\xff",
        "arg=ä".encode(),
        b"",
    ]


def test_a_command_with_a_nul_or_of_a_megabyte_is_refused() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        AgentConfig(args=["a\0b"]).encode()
    with pytest.raises(ConfigError, match="bytes to say; at most"):
        AgentConfig(args=["x" * MAX_CONFIG]).encode()
