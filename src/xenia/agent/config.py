"""What the agent is told at boot: the file that the host writes into its initial RAM disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from xenia.agent.pairs import encoded

CONFIG_NAME: Final = "xenia.conf"  # in the root of an initial RAM disk


class Mode(StrEnum):
    """What the agent runs: a shell on the console, a command that has the console for itself, or a command whose
    standard streams go to the host."""

    SHELL = "shell"
    SCREEN = "screen"
    COMMAND = "command"


@dataclass(frozen=True)
class AgentConfig:
    """What the agent is told at boot, in the file /xenia.conf.

    args       the command, or the shell's command line; the first is looked up along PATH
    environment   what programs find, but for what an image says of the same variables
    overrides     what they find whatever an image says
    modules    paths in the initramfs of kernel modules to load, in this order, each with its options behind a space
    rows, columns    size of the console's window; 0 if not known
    greeting   printed on the console before a shell starts
    shares     folders of the host's to mount: TAG:MODE:PATH, with a mode of agent/shares.h
    user       who the command runs as, NAME[:GROUP] or numbers; and
    tty        whether it gets a terminal: of commands that are asked for while the guest runs
    """

    mode: Mode = Mode.SHELL
    args: Sequence[str | bytes] = ("/bin/sh",)
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: Sequence[str] = ()
    directory: str = "/"
    hostname: str = ""
    rows: int = 0
    columns: int = 0
    greeting: str = ""
    shares: Sequence[str] = ()
    user: str = ""
    tty: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The file's bytes; ConfigError if something in it cannot be said."""
        pairs: list[tuple[str, str | bytes]] = [("mode", self.mode.value), ("cwd", self.directory)]
        pairs += [("hostname", self.hostname)] if self.hostname else []
        pairs += [("greeting", self.greeting)] if self.greeting else []
        pairs += [("rows", str(self.rows)), ("columns", str(self.columns))]
        pairs += [("user", self.user)] if self.user else []
        pairs += [("tty", "1")] if self.tty else []
        pairs += [("module", path) for path in self.modules]
        pairs += [("share", share) for share in self.shares]
        pairs += [("env", f"{name}={value}") for name, value in self.environment.items()]
        pairs += [("own", f"{name}={value}") for name, value in self.overrides.items()]
        pairs += [("arg", argument) for argument in self.args]
        return encoded(pairs, "the command for the guest")


@dataclass(frozen=True)
class ImageCommand:
    """What a root disk runs that was made of a container image, in its file /.xenia: read by the agent, in the guest.

    arguments      the command; one that is given to the guest takes its place
    environment    besides what all programs find, and below what the operator says
    directory      where it starts, unless the operator says otherwise
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str = "/"
    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()

    def encode(self) -> bytes:
        """The file's bytes; ConfigError if it is too long."""
        pairs: list[tuple[str, str | bytes]] = [("cwd", self.directory), ("uid", str(self.uid)), ("gid", str(self.gid))]
        pairs += [("group", str(group)) for group in self.groups]
        pairs += [("env", f"{name}={value}") for name, value in self.environment.items()]
        pairs += [("arg", argument) for argument in self.arguments]
        return encoded(pairs, "what the image runs")


def brings_agent(ramdisk: bytes) -> bool:
    """Whether an initial RAM disk has what the agent is told in it; one that is packed is not looked into."""
    return CONFIG_NAME.encode() + b"\0" in ramdisk  # an entry's name in a cpio archive
