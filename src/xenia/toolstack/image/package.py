"""A package that is to be in an image: what its control files say about how it is unpacked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.provision.deb import ControlFile, read_control


@dataclass(frozen=True)
class DebianPackage:
    """A package's file, its description and its control files by name."""

    path: Path
    fields: Mapping[str, str]
    control: Mapping[str, ControlFile]

    @property
    def name(self) -> str:
        """Its name."""
        return self.fields["Package"]

    @property
    def is_essential(self) -> bool:
        """Whether a system has to have it, without anyone saying so."""
        return self.fields.get("Essential") == "yes"

    @property
    def info_name(self) -> str:
        """What its files in dpkg's info directory are called."""
        several = self.fields.get("Multi-Arch") == "same"
        return f"{self.name}:{self.fields['Architecture']}" if several else self.name

    @property
    def conffiles(self) -> frozenset[str]:
        """Absolute paths of the configuration files that are the administrator's once installed."""
        lines = self._text("conffiles").splitlines()
        return frozenset(
            line for line in lines if line.startswith("/")
        )  # others have flags, and are not in the package

    @property
    def needs_dpkg(self) -> bool:
        """Whether unpacking it means more than putting files in their place: a script runs, or a trigger is set up."""
        interest = re.search(r"^\s*interest", self._text("triggers"), re.MULTILINE)
        return "preinst" in self.control or interest is not None

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of what it depends on, each with its alternatives."""
        text = ",".join(self.fields.get(key, "") for key in ("Pre-Depends", "Depends"))
        return tuple(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", text))

    def _text(self, name: str) -> str:
        file = self.control.get(name)
        return file.data.decode("utf-8", "replace") if file is not None else ""


def read_package(path: Path) -> DebianPackage:
    """The package in a file.  ConfigError if there is none."""
    control = read_control(path)
    fields = parse_fields(control["control"].data.decode("utf-8", "replace")) if "control" in control else {}
    if not {"Package", "Architecture", "Version"} <= fields.keys():
        raise ConfigError(f"{path}: a package that does not say what it is")
    for key in ("Package", "Architecture"):  # they become names of files
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", fields[key]):
            raise ConfigError(f"{path}: {fields[key][:40]!r} is no name of a package, nor of what it is for")
    return DebianPackage(path, fields, control)


def parse_fields(text: str) -> dict[str, str]:
    """The fields of one stanza; what goes on in further lines is left out."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and line[0] not in " \t")


def closure(packages: Iterable[DebianPackage], roots: Iterable[str]) -> set[str]:
    """The names of those packages that are `roots`, and of those that they need."""
    by_name = {package.name: package for package in packages}
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found.add(name)
            waiting += by_name[name].needs
    return found
