"""The names that distributions give their kernels, and those that an operator calls them by.

A release (uname -r) is a version and a flavour: 6.12.117+deb12-cloud-amd64 is 6.12.117+deb12 for clouds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from xenia.errors import ConfigError

USUAL_FLAVOURS = ("amd64", "generic")  # Debian's and Ubuntu's: what is meant where none is named
_RELEASE = re.compile(r"([0-9][0-9A-Za-z.+~]*(?:-[0-9][0-9A-Za-z.+~]*)*)(?:-([a-z][a-z0-9-]*))?")
_NO_KERNELS = ("dbg", "unsigned", "template")  # how names of packages end that have none for a guest


@dataclass(frozen=True)
class Release:
    """A kernel's release, or what an operator says of one: a version, or only its beginning, and perhaps a flavour."""

    version: str
    flavour: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Take it apart; None where it does not begin with a version."""
        match = _RELEASE.fullmatch(text)
        return cls(match[1], match[2] or "") if match and len(text) <= 64 else None

    def __str__(self) -> str:
        return f"{self.version}-{self.flavour}" if self.flavour else self.version

    @property
    def is_kernel(self) -> bool:
        """Whether a package of this name has a kernel, and not what belongs to one or leads to one."""
        return bool(self.flavour) and self.flavour.split("-")[-1] not in _NO_KERNELS and len(self._numbers) > 2

    @property
    def series(self) -> str:
        """Its first two numbers."""
        return ".".join(map(str, self._numbers[:2]))

    @property
    def short(self) -> str:
        """The shortest that names its series and flavour: 6.12, 6.12-cloud."""
        flavour = self.flavour.removesuffix("-amd64")
        return self.series if self.flavour in USUAL_FLAVOURS else f"{self.series}-{flavour}"

    @property
    def age(self) -> tuple[int, ...]:
        """What sorts releases of one flavour, the oldest first."""
        return self._numbers

    def means(self, other: Release, package: str = "") -> bool:
        """Whether `other`, which came in a package of that version, is one of those that this names."""
        if self.flavour:
            fits = other.flavour == self.flavour or other.flavour.startswith(f"{self.flavour}-")
        else:
            fits = other.flavour in USUAL_FLAVOURS
        return fits and any(_begins(version, self.version) for version in (other.version, package))

    @property
    def _numbers(self) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"[0-9]{1,9}", self.version)))


def named(text: str, flavour: str | None = None) -> Release:
    """The release that an operator means with a `text` such as 6.12 or 6.1-cloud, and --flavour.

    ConfigError where that is none.
    """
    release = Release.parse(text)
    if release is None:
        raise ConfigError(f"'{text}' is no version of a kernel: write one such as 6.12, 6.1-cloud or 6.1.0-9-amd64")
    if flavour is None:
        return release
    if release.flavour:
        raise ConfigError(f"'{text}' names a flavour already: leave --flavour {flavour} out")
    return Release(release.version, flavour)


def shortest_names(releases: Iterable[Release]) -> Sequence[str]:
    """What an operator can say to get the newest of each series and flavour of these."""
    ordered = sorted(releases, key=lambda release: (release.age[:2], release.short))
    return list(dict.fromkeys(release.short for release in ordered))


def _begins(version: str, beginning: str) -> bool:
    """Whether a version is that one, or a more exact one: 6.1.0-9 is a 6.1, and 6.12 is none."""
    return version.startswith(beginning) and not version[len(beginning) : len(beginning) + 1].isalnum()
