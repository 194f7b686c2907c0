"""Packages of the host's distribution, fetched with its package client (apt), by any user.

The system's own package lists are used where they are there and know the package; else, as in a fresh container, the
lists are fetched into a state directory of our own in the cache.  Nothing is installed, and no root is needed.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache, Progress, no_progress

ARCHITECTURE = "amd64"  # the guests', whatever the host is


@dataclass(frozen=True)
class Package:
    """A package as the lists describe it.  `size` is in bytes; `depends` are names, the first alternative of each."""

    name: str
    version: str
    size: int
    depends: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where packages are found, as apt is configured: an archive's address, its suite and one component of it, and whom
    its own list says that it is from ("Debian"; empty where that is not known)."""

    uri: str
    suite: str
    component: str
    origin: str


class PackageClient:
    """apt, asked without root.  Every failure is a ConfigError."""

    def __init__(self, cache: Cache, progress: Progress = no_progress) -> None:
        self._cache = cache
        self._progress = progress
        self._updated = False
        self._failure = ""

    @staticmethod
    def available() -> bool:
        """Whether this host has the package client."""
        return all(shutil.which(tool) for tool in ("apt-get", "apt-cache"))

    def find(self, names: Sequence[str]) -> Package:
        """The first of the named packages that the package lists know."""
        if not self.available():
            raise ConfigError(f"no package client (apt-get) on this host to fetch {names[0]} with; give files instead")
        self._failure = ""
        for options in self._sources():
            for name in names:
                package = self._show(name, options)
                if package is not None:
                    return package
        raise ConfigError(f"no package {' or '.join(names)} in this host's package sources{self.because()}")

    def search(self, beginning: str, wanted: Callable[[str], bool]) -> Iterator[list[Package]]:
        """The packages whose names begin so and are wanted, from one place to look in after another: whoever finds what
        he looks for asks for no more."""
        if not self.available():
            raise ConfigError("no package client (apt-get) on this host to look for packages with")
        self._failure = ""
        for options in self._sources():
            command = ["apt-cache", *options, "pkgnames", beginning]
            answer = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
            names = [name for name in answer.stdout.split() if name.startswith(beginning) and wanted(name)]
            if names:
                yield self._describe(sorted(names), options)

    def because(self) -> str:
        """Why the last thing asked for cannot be had, in the package client's words; "" if it said nothing."""
        return f" ({self._failure})" if self._failure else ""

    def download(self, package: Package, directory: Path) -> Path:
        """Fetch the package's file into `directory`."""
        self._failure = ""
        for options in self._sources():
            what = f"fetching {package.name}"
            if self._run(["apt-get", *options, "download", package.name], what, package.size, directory):
                found = sorted(directory.glob(f"{package.name}_*.deb"))
                if found:
                    return found[0]
        raise ConfigError(f"cannot fetch {package.name}{self.because()}")

    def fetch_system(self, names: Sequence[str], directory: Path) -> list[Path]:
        """Fetch all packages of a system that has these and what they depend on, and nothing to begin with.

        `names` are anything apt takes, patterns such as ?essential too.  What is in `directory` already is kept.
        """
        if not self.available():
            raise ConfigError("no package client (apt-get) on this host to fetch packages with")
        self._failure = ""
        status = self._cache.path("apt", "system", "empty")  # what is installed there; locks are made beside it
        status.write_bytes(b"")
        (directory / "partial").mkdir(parents=True, exist_ok=True)
        for options in self._sources():
            command = [
                *("apt-get", *options, "-o", f"Dir::State::status={status}", "-o", f"Dir::Cache={status.parent}"),
                *("-o", "APT::Install-Recommends=false", "--yes", "install", *names),
            ]
            with tempfile.TemporaryDirectory(prefix=".none.", dir=status.parent) as none:
                # Where no archive is there yet, all are named.
                archives = self._archives([*command, "--print-uris", "-o", f"Dir::Cache::archives={none}"])
            missing = sum(size for name, size in archives.items() if not _has_size(directory / name, size))
            if missing:
                command += ["--download-only", "-o", f"Dir::Cache::archives={directory}"]
                self._run(command, f"fetching {len(archives)} packages", missing, directory)
            paths = [directory / name for name in archives]
            if paths and all(_has_size(path, archives[path.name]) for path in paths):
                return paths
        raise ConfigError(f"cannot fetch the packages of a system{self.because()}")

    def sources(self) -> list[Source]:
        """Where apt finds packages on this host; none where that is not configured, or no list was ever fetched."""
        target = "|".join(f"$({name})" for name in ("REPO_URI", "RELEASE", "COMPONENT", "ORIGIN"))
        for options in self._sources() if self.available() else ():
            command = ["apt-get", *options, "indextargets", "--format", target, "Created-By: Packages"]
            answer = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
            found = [line.split("|") for line in answer.stdout.splitlines()]
            if any(len(fields) == 4 for fields in found):
                return [Source(*fields) for fields in found if len(fields) == 4]
        return []

    def settings(self, *names: str) -> dict[str, str]:
        """What apt is configured to, of these names (Acquire::http::Proxy); those that are not are left out."""
        if not self.available():
            return {}
        command = ["apt-config", "shell", *(word for at, name in enumerate(names) for word in (f"v{at}", name))]
        answer = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        said = dict(word.partition("=")[::2] for word in shlex.split(answer.stdout))
        return {name: said[f"v{at}"] for at, name in enumerate(names) if said.get(f"v{at}")}

    def _archives(self, command: list[str]) -> dict[str, int]:
        """The files, and their sizes, that apt-get would fetch; none where it cannot do what it is told."""
        answer = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        for line in answer.stderr.splitlines():
            self._note(line)
        return parse_uris(answer.stdout) if answer.returncode == 0 else {}

    def _sources(self) -> Iterator[list[str]]:
        """The apt options of each place to look in, cheapest first: the system's lists, ours, ours made new."""
        sandbox = ["-o", "APT::Sandbox::User="]  # root may fetch into a directory that is only root's
        if _host_architecture() == ARCHITECTURE:
            yield sandbox
        state = self._cache.path("apt", "state", "lists", "partial").parent.parent
        own = [
            *sandbox,
            *("-o", f"Dir::State={state}", "-o", f"Dir::State::lists={state}/lists", "-o", "Acquire::Languages=none"),
            *("-o", f"Dir::Cache={state.parent}/cache", "-o", f"Dir::Cache::archives={state.parent}/cache/archives"),
            *("-o", f"APT::Architecture={ARCHITECTURE}", "-o", f"APT::Architectures={ARCHITECTURE}"),
            *("-c", str(self._without_hooks())),
        ]
        if any(state.glob("lists/*_Packages*")):
            yield own
        if not self._updated:
            for directory in (state / "lists" / "partial", state.parent / "cache" / "archives" / "partial"):
                directory.mkdir(parents=True, exist_ok=True)
            self._run(["apt-get", *own, "update"], "fetching package lists", 0, self._cache.root)
            self._updated = True
            yield own

    def _without_hooks(self) -> Path:
        """A configuration without what the system does after an update: that concerns its own lists, and needs root."""
        path = self._cache.path("apt", "apt.conf")
        path.write_text("#clear APT::Update;\n#clear DPkg::Post-Invoke;\n")
        return path

    def _show(self, name: str, options: list[str]) -> Package | None:
        return next(iter(self._describe([name], options)), None)

    @staticmethod
    def _describe(names: Sequence[str], options: list[str]) -> list[Package]:
        """Those of the packages that can be fetched."""
        command = ["apt-cache", *options, "--no-all-versions", "show", *names]
        answer = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        return [package for text in answer.stdout.split("\n\n") if (package := parse_stanza(text)) is not None]

    def _run(self, command: list[str], what: str, size: int, directory: Path) -> bool:
        """Run apt-get and report its progress; whether it did what it was told, else remember what it said."""
        command[1:1] = ["-q", "-o", "APT::Status-Fd=1"]
        self._progress(what, 0, size)
        with subprocess.Popen(
            command, cwd=directory, env=_environment(), text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("dlstatus:"):
                    percent = float(line.split(":")[2])
                    self._progress(what, int(size * percent / 100), size)
                else:
                    self._note(line)
        return process.returncode == 0

    def _note(self, line: str) -> None:
        if line.startswith(("E: ", "W: Failed to fetch")) and "Failed to fetch" not in self._failure:
            self._failure = " ".join(line[3:].split())


def parse_stanza(text: str) -> Package | None:
    """The package that `apt-cache show` describes; None if it describes none that can be fetched."""
    fields = dict(line.split(": ", 1) for line in text.split("\n\n")[0].splitlines() if ": " in line and line[0] != " ")
    if "Filename" not in fields:  # else it is installed here, but nowhere to be had
        return None
    depends = [first.split("|")[0] for key in ("Pre-Depends", "Depends") for first in fields.get(key, "").split(",")]
    names = tuple(match[0] for text in depends if (match := re.match(r"[a-z0-9][a-z0-9+.-]+", text.strip())))
    return Package(fields["Package"], fields.get("Version", ""), int(fields.get("Size", 0)), names)


def parse_uris(text: str) -> dict[str, int]:
    """What `apt-get --print-uris` lists: names of files, and their sizes in bytes."""
    return {match[1]: int(match[2]) for match in re.finditer(r"^'[^']*' (\S+\.deb) ([0-9]+)( |$)", text, re.MULTILINE)}


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _host_architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
