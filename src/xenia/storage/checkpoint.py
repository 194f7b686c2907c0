"""Checkpoints: named states of a disk, made at once and gone back to at once.

A directory holds overlays, each over another one or over the disk below, which stays as it is. Writes go to the
current overlay. A checkpoint gives it a name, and puts a new one on top; going back puts a new one on top of the named
one. Checkpoints so form a tree, and going back to one leaves the others as they are. One small file tells which
overlay stands on which; it is replaced as a whole, and that is the moment at which things happen.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from xenia.errors import ConfigError
from xenia.storage.buffers import Buffers
from xenia.storage.cow import Overlay, create_overlay, sync_directory
from xenia.storage.door import door
from xenia.storage.file import open_file
from xenia.storage.layer import BlockSize, Capability, Extent, Layer
from xenia.storage.lock import lock
from xenia.storage.qcow2.header import read_header

TREE = "tree.json"


@dataclass
class Tree:
    """Which overlay stands on which, and their names."""

    current: int = 1
    parents: dict[int, int | None] = field(default_factory=lambda: {1: None})
    names: dict[str, int] = field(default_factory=dict)
    made: dict[str, float] = field(default_factory=dict)  # seconds since 1970, by name

    def chain(self, number: int | None) -> list[int]:
        """An overlay and those under it, from the lowest up."""
        found: list[int] = []
        while number is not None:
            found.insert(0, number)
            number = self.parents[number]
        return found

    def prune(self) -> None:
        """Forget overlays that neither a name nor the current state stands on."""
        needed = {self.current}.union(*(self.chain(number) for number in [self.current, *self.names.values()]))
        self.parents = {number: parent for number, parent in self.parents.items() if number in needed}

    def write(self, path: Path) -> None:
        """Put it in the place of the one that is there, durably."""
        part = path.with_name(f".{path.name}")
        with part.open("w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(path.parent)


@dataclass(frozen=True, slots=True)
class Named:
    """A checkpoint: its name, that of the nearest one it stands on, and when it was made."""

    name: str
    parent: str | None
    made: float
    current: bool  # the current state stands on it, and on no newer one


class Checkpoints(Layer):
    """A disk with checkpoints."""

    name: ClassVar[str] = "checkpoint"
    lower: Layer

    def __init__(self, lower: Layer, directory: Path, read_only: bool = False) -> None:
        """Make the directory, or take up what is in it.  The layer below is never written to."""
        self._directory = directory
        self._lock = threading.RLock()
        try:
            if not read_only:
                directory.mkdir(exist_ok=True)
            self._guard = door().open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigError(f"cannot keep checkpoints in {directory}: {error.strerror}") from None
        try:
            lock(self._guard, directory, write=not read_only)
            self._tree = self._load(lower, read_only)
            super().__init__(lower, Capability(0), BlockSize())
            self._top = self._open(read_only)
        except BaseException:
            os.close(self._guard)
            raise
        self.capabilities = self._top.capabilities

    @property
    def size(self) -> int:
        return self._top.size

    def details(self) -> dict[str, Any]:
        return {"checkpoints": [asdict(one) for one in self.checkpoints]}

    @property
    def checkpoints(self) -> list[Named]:
        """All of them, the oldest first."""
        names = {number: name for name, number in self._tree.names.items()}

        def nearest(number: int | None) -> str | None:
            while number is not None and number not in names:
                number = self._tree.parents[number]
            return None if number is None else names[number]

        now = nearest(self._tree.parents[self._tree.current])
        return [
            Named(name, nearest(self._tree.parents[number]), self._tree.made.get(name, 0.0), name == now)
            for name, number in sorted(self._tree.names.items(), key=lambda item: self._tree.made.get(item[0], 0.0))
        ]

    @property
    def files(self) -> list[Path]:
        """The images of its overlays."""
        return [self._path(number) for number in sorted(self._tree.parents)]

    def checkpoint(self, name: str) -> None:
        """Give the state of this moment a name.  ConfigError where the name is taken or none."""
        if not name or len(name) > 255 or not name.isprintable():
            raise ConfigError(f"'{name}' is no name for a checkpoint")
        with self._lock:
            self._need_writable()
            if name in self._tree.names:
                raise ConfigError(f"there is a checkpoint '{name}' already")
            frozen = self._tree.current
            self._top.flush()
            tree = self._changed()
            tree.names[name] = frozen
            tree.made[name] = time.time()
            top = self._grow(tree, frozen, self._top.size)
            self._top.seal()
            self._tree = tree
            self._top = self._overlay(top, self._top, read_only=False)

    def rollback(self, name: str) -> None:
        """Go back to a checkpoint: what was written since the last one is given up.  ConfigError for no name of one."""
        with self._lock:
            self._need_writable()
            if name not in self._tree.names:
                known = ", ".join(f"'{one.name}'" for one in self.checkpoints) or "there are none"
                raise ConfigError(f"there is no checkpoint '{name}' ({known})")
            base = self._tree.names[name]
            old = self._top.size
            self._top.close_overlays()
            try:
                with open_file(self._path(base), read_only=True) as container:
                    size = read_header(container, name).size
                tree = self._changed()
                self._grow(tree, base, size)
                self._tree = tree
            finally:
                self._top = self._open(read_only=False)
        if self.size != old:
            self._resized()

    def forget(self, name: str) -> None:
        """Give a name up; the overlays that are needed by nothing else go."""
        with self._lock:
            self._need_writable()
            if name not in self._tree.names:
                raise ConfigError(f"there is no checkpoint '{name}'")
            tree = self._changed()
            del tree.names[name]
            tree.made.pop(name, None)
            tree.prune()
            tree.write(self._directory / TREE)
            self._tree = tree
            self._remove_strangers()

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        with self._lock:
            self._top.preadv(buffers, offset)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        with self._lock:
            self._top.pwritev(buffers, offset)

    def _flush(self) -> None:
        with self._lock:
            self._top.flush()

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        with self._lock:
            self._top.discard(offset, length, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        with self._lock:
            self._top.write_zeroes(offset, length, unmap)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        with self._lock:
            return iter(list(self._top.extents(offset, length)))

    def _resize(self, size: int) -> None:
        with self._lock:
            self._top.resize(size)
        self._resized()

    def _refresh(self) -> None:
        pass  # the size is the overlay's own

    def _close(self) -> None:
        try:
            self._top.close_overlays()
        finally:
            try:
                os.close(self._guard)
            finally:
                self.lower.close()

    # The tree

    def _load(self, lower: Layer, read_only: bool) -> Tree:
        path = self._directory / TREE
        try:
            with open(door().open(path, os.O_RDONLY)) as file:
                found = json.load(file)
            parents = {int(number): None if parent is None else int(parent) for number, parent in
                       found["parents"].items()}  # fmt: skip
            names = {str(name): int(number) for name, number in found["names"].items()}
            made = {str(name): float(seconds) for name, seconds in found["made"].items()}
            tree = Tree(int(found["current"]), parents, names, made)
            sound = all(parent is None or (parent in parents and parent < number) for number, parent in parents.items())
            if not sound or not {tree.current, *names.values()} <= parents.keys():
                raise ConfigError(f"{path} is damaged")
            return tree
        except FileNotFoundError:
            if read_only:
                raise ConfigError(f"{self._directory} holds no checkpoints") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{path} is damaged") from None
        tree = Tree()
        self._path(tree.current).unlink(missing_ok=True)  # of a first attempt that was cut off
        create_overlay(self._path(tree.current), lower.size)
        tree.write(path)
        return self._load(lower, read_only)

    def _changed(self) -> Tree:
        """A copy to change."""
        tree = self._tree
        return Tree(tree.current, dict(tree.parents), dict(tree.names), dict(tree.made))

    def _grow(self, tree: Tree, base: int, size: int) -> int:
        """Let `tree`, and the disk from now on, stand on a new overlay over `base`."""
        number = max(tree.parents) + 1
        self._path(number).unlink(missing_ok=True)
        create_overlay(self._path(number), size)
        tree.parents[number] = base
        tree.current = number
        tree.prune()
        tree.write(self._directory / TREE)
        return number

    def _open(self, read_only: bool) -> Linked:
        if not read_only:
            self._remove_strangers()
        top: Linked | None = None
        try:
            for number in self._tree.chain(self._tree.current):
                top = self._overlay(number, top, read_only or number != self._tree.current)
        except BaseException:
            if top is not None:
                top.close_overlays()
            raise
        assert top is not None
        return top

    def _overlay(self, number: int, below: Linked | None, read_only: bool) -> Linked:
        path = self._path(number)
        container = open_file(path, read_only)
        try:
            header = read_header(container, str(path))
            return Linked(container, header, self.lower if below is None else below, read_only=read_only)
        except BaseException:
            container.close()
            raise

    def _remove_strangers(self) -> None:
        """Remove the files of overlays that the tree does not know: they were made, or left, by something cut off."""
        for path in self._directory.glob("*.qcow2"):
            if path.stem.isdecimal() and int(path.stem) not in self._tree.parents:
                path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.qcow2"

    def _need_writable(self) -> None:
        if self.read_only:
            raise ConfigError("the disk is open for reading only")


class Linked(Overlay):
    """An overlay in the tree."""

    def close_overlays(self) -> None:
        """Close this one and those it stands on, and leave what is below them open."""
        below, self.backing = self.backing, None
        try:
            self.close()
        finally:
            if isinstance(below, Linked):
                below.close_overlays()
