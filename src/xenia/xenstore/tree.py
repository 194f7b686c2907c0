"""The tree of the store, as a value.

A tree never changes: an operation answers a new tree that shares every untouched subtree with the old one.  So a
transaction is a tree kept aside, and whether anything happened below a node since then is one comparison of
identities.

Nothing here knows of clients, permission checks, quotas or watches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from xenia.xenstore.path import ROOT, Path
from xenia.xenstore.permissions import Permissions

NO_CHILDREN: Final[Mapping[str, Node]] = MappingProxyType({})


class Node(NamedTuple):
    """One node.  Compare nodes by identity: equality would walk everything below them."""

    value: bytes
    permissions: Permissions
    # In the order of their creation.
    children: Mapping[str, Node]
    # Another number after each change of the value, the permissions or the set of children.
    generation: int


class Tree(NamedTuple):
    """A root, and how many nodes each domain owns below and including it."""

    root: Node
    owned: Mapping[int, int]

    @classmethod
    def rooted(cls, root: Node) -> Tree:
        return cls(root, count_owners(root))

    def find(self, path: Path) -> Node | None:
        node = self.root
        for name in path.names:
            child = node.children.get(name)
            if child is None:
                return None
            node = child
        return node

    def nearest(self, path: Path) -> tuple[Path, Node]:
        """The deepest node that exists on the way to `path`, `path` itself included, and where it is."""
        node = self.root
        for depth, name in enumerate(path.names):
            child = node.children.get(name)
            if child is None:
                return Path(path.names[:depth]), node
            node = child
        return path, node

    def with_content(self, path: Path, value: bytes, permissions: Permissions, generation: int) -> Tree:
        """This tree with another value and permissions at `path`, its children kept.  Precondition: `path` exists."""
        spine = self._spine(path)
        old = spine.pop()
        owned = self.owned
        if old.permissions.owner != permissions.owner:
            owned = _adjusted(owned, {old.permissions.owner: 1}, {permissions.owner: 1})
        return Tree(_rebuilt(spine, path, Node(value, permissions, old.children, generation)), owned)

    def with_subtree(self, path: Path, subtree: Node | None, generation: int) -> Tree:
        """This tree with everything at and below `path` replaced, or taken out for None.

        Preconditions: the parent of `path` exists; `path` is not the root.
        """
        *spine, parent = self._spine(path.parent)
        name = path.names[-1]
        old = parent.children.get(name)
        if old is None and subtree is None:
            return self
        children = dict(parent.children)
        if subtree is None:
            del children[name]
        else:
            children[name] = subtree
        same_names = old is not None and subtree is not None
        changed = Node(parent.value, parent.permissions, children, parent.generation if same_names else generation)
        owned = _adjusted(
            self.owned,
            count_owners(old) if old is not None else {},
            count_owners(subtree) if subtree is not None else {},
        )
        return Tree(_rebuilt(spine, path.parent, changed), owned)

    def without_domain(self, domid: int, generation: int) -> tuple[Tree, list[Path]]:
        """This tree with no trace of a domain that is gone, and the top of each subtree that went with it.

        What it owned is taken out with everything below, and other nodes' permissions name it no more: a later domain
        of the same number starts with nothing.  The root stays, whoever owned it.
        """
        tree = self
        removed: list[Path] = []
        pending = [(ROOT, self.root)]
        while pending:
            path, node = pending.pop()
            if node.permissions.owner == domid and path != ROOT:
                tree = tree.with_subtree(path, None, generation)
                removed.append(path)
                continue
            permissions = node.permissions.without(domid)
            if permissions is not node.permissions:
                tree = tree.with_content(path, node.value, permissions, generation)
            pending.extend((path.child(name), child) for name, child in node.children.items())
        return tree, removed

    def _spine(self, path: Path) -> list[Node]:
        """The nodes from the root to `path`.  Precondition: it exists."""
        node = self.root
        spine = [node]
        for name in path.names:
            node = node.children[name]
            spine.append(node)
        return spine


def count_owners(node: Node) -> Mapping[int, int]:
    """How many nodes each domain owns at and below `node`."""
    if not node.children:
        return {node.permissions.owner: 1}
    counts: Counter[int] = Counter()
    pending = [node]
    while pending:
        node = pending.pop()
        counts[node.permissions.owner] += 1
        pending.extend(node.children.values())
    return counts


def chain(names: tuple[str, ...], value: bytes, permissions: Permissions, generation: int) -> Node:
    """Nodes one below the other: the first name's node is answered, the last one carries `value`, the others are empty.

    The first of `names` is how the answer will be called where it is put.
    """
    node = Node(value, permissions, NO_CHILDREN, generation)
    for name in reversed(names[1:]):
        node = Node(b"", permissions, {name: node}, generation)
    return node


def _rebuilt(spine: list[Node], path: Path, node: Node) -> Node:
    """The root after `node` was put at `path`; `spine` holds the nodes above it."""
    for parent, name in zip(reversed(spine), reversed(path.names), strict=True):
        children = dict(parent.children)
        children[name] = node
        node = Node(parent.value, parent.permissions, children, parent.generation)
    return node


def _adjusted(owned: Mapping[int, int], less: Mapping[int, int], more: Mapping[int, int]) -> Mapping[int, int]:
    counts = Counter(owned)
    counts.subtract(less)
    counts.update(more)
    return {domid: count for domid, count in counts.items() if count}
