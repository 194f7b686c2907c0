"""Watches, and which of them a change concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from xenia.abi.xs_wire import XsdError
from xenia.xenstore.error import StoreError
from xenia.xenstore.path import Name, Path, Special
from xenia.xenstore.permissions import Access, Identity
from xenia.xenstore.tree import Node

if TYPE_CHECKING:
    from xenia.xenstore.connection import Connection


class Watch(NamedTuple):
    """What one connection asked to hear about."""

    connection: Connection
    name: Name
    token: bytes
    # Asked for with a relative path: its events are told in the same way.
    relative: bool
    # The watched name as this client spells it.
    own_name: bytes

    @classmethod
    def on(cls, connection: Connection, name: Name, token: bytes, relative: bool) -> Watch:
        text = name.relative_to(connection.base) if relative and isinstance(name, Path) else str(name)
        return cls(connection, name, token, relative, text.encode("ascii"))

    def spelt(self, path: Path) -> bytes:
        """A path at or below the watched one, as this client spells it."""
        if self.relative:
            return path.relative_to(self.connection.base).encode("ascii")
        return str(path).encode("ascii")


class Change(NamedTuple):
    """What happened at a path: a node came, went or changed."""

    path: Path
    before: Node | None
    after: Node | None
    # The node above, where it exists: who may list it may know what comes and goes in it.
    parent: Node | None

    def visible_to(self, identity: Identity) -> bool:
        if any(node is not None and identity.may(Access.READ, node.permissions) for node in (self.before, self.after)):
            return True
        came_or_went = self.before is None or self.after is None
        return came_or_went and self.parent is not None and identity.may(Access.READ, self.parent.permissions)


class Watches:
    """All watches of the store, found by what they watch."""

    def __init__(self) -> None:
        # By name, then by (connection, token) in the order they were set.
        self._by_name: dict[Name, dict[tuple[Connection, bytes], Watch]] = {}

    def add(self, watch: Watch) -> None:
        """Raises StoreError(EEXIST) where the connection has the same watch already."""
        same_name = self._by_name.setdefault(watch.name, {})
        if (watch.connection, watch.token) in same_name:
            raise StoreError(XsdError.EEXIST)
        same_name[watch.connection, watch.token] = watch

    def remove(self, connection: Connection, name: Name, token: bytes) -> Watch:
        """Raises StoreError(ENOENT) where the connection has no such watch."""
        same_name = self._by_name.get(name, {})
        watch = same_name.pop((connection, token), None)
        if watch is None:
            raise StoreError(XsdError.ENOENT)
        if not same_name:
            del self._by_name[name]
        return watch

    def remove_all(self, connection: Connection) -> None:
        """Take out every watch of a connection."""
        if not connection.nr_watches:
            return
        for name, same_name in list(self._by_name.items()):
            for key in [key for key in same_name if key[0] is connection]:
                del same_name[key]
            if not same_name:
                del self._by_name[name]

    def __iter__(self) -> Iterator[Watch]:
        """All of them, in an order in which they may be added to others that are the same then."""
        for same_name in self._by_name.values():
            yield from same_name.values()

    def count(self) -> Counter[Connection]:
        """How many watches each connection has."""
        return Counter(connection for same_name in self._by_name.values() for connection, _ in same_name)

    def special(self, name: Special) -> Iterator[Watch]:
        yield from self._by_name.get(name, {}).values()

    def concerned(self, change: Change) -> Iterator[tuple[Watch, Path]]:
        """The watches that a change is to be told to, each with the path of the event.

        Those at or above the path hear of the path.  When a subtree went, a watch on a node that was in it hears of
        that node.
        """
        names = change.path.names
        visible: dict[Connection, bool] = {}  # to who has many watches, asked once
        for depth in range(len(names) + 1):
            for watch in self._by_name.get(Path(names[:depth]), {}).values():
                if watch.connection not in visible:
                    visible[watch.connection] = change.visible_to(watch.connection.identity)
                if visible[watch.connection]:
                    yield watch, change.path
        if change.before is None or not change.before.children:
            return
        for name, same_name in list(self._by_name.items()):
            if isinstance(name, Special) or name == change.path or not name.is_within(change.path):
                continue
            gone = _lost(change, name)
            for watch in same_name.values():
                if gone is not None and gone.visible_to(watch.connection.identity):
                    yield watch, name


def _lost(change: Change, path: Path) -> Change | None:
    """What a change above `path` did to it, if that was to take its node away."""
    before, after = change.before, change.after
    parent: Node | None = None
    for name in path.names[len(change.path.names) :]:
        parent = before
        before = before.children.get(name) if before is not None else None
        if before is None:
            return None
        after = after.children.get(name) if after is not None else None
    return Change(path, before, None, parent) if after is None else None
