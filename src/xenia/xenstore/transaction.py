"""Transactions: a tree kept aside, and what must still hold of the store's tree when it comes back.

While a transaction is open its requests work on its own tree, which began as the store's.  Each request also notes
what it depended on: that a node is as it was, that its permissions are, that its children's names are, or that
nothing below it moved.  At the end these aspects are compared between the tree the transaction began with and the
store's tree of that moment.  If they are equal, the same requests made now would have had the same answers, so what
it wrote is put into the store's tree, and what others did elsewhere stays.  If one differs there is a real conflict,
and the client gets EAGAIN.  Comparison is by content: a value that was changed and changed back does not count.

What was written is noted by path, and not as a log, so that a transaction costs no more than the paths it touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

from xenia.xenstore.path import Path
from xenia.xenstore.persist import NodeTable, TransactionState
from xenia.xenstore.tree import NO_CHILDREN, Node, Tree
from xenia.xenstore.watch import Change


class Aspect(IntFlag):
    """What of a node a transaction depends on."""

    # Its permissions, and so its existence.
    PERMISSIONS = 1
    # Its value and permissions, or its absence.
    CONTENT = 2
    # The names of its children.
    CHILDREN = 4
    # Everything at and below it.
    SUBTREE = 8


class Transaction:
    """One open transaction."""

    def __init__(self, tree: Tree) -> None:
        self._base = tree
        self.tree = tree
        self._depends: dict[Path, Aspect] = {}
        # Each path written, in order, parents before the children that were created with them; True when the path was
        # removed at least once, so that what is there now owes nothing to what was below it before.
        self._written: dict[Path, bool] = {}
        # The paths that a request named when it wrote: what watches will hear of.
        self._named: dict[Path, None] = {}

    def save(self, nodes: NodeTable) -> TransactionState:
        """What one made later needs to go on; its trees go into the table."""
        return TransactionState(
            base=nodes.put(self._base.root),
            root=nodes.put(self.tree.root),
            depends={str(path): int(aspect) for path, aspect in self._depends.items()},
            written={str(path): was_removed for path, was_removed in self._written.items()},
            named=tuple(map(str, self._named)),
        )

    @classmethod
    def restore(cls, nodes: Sequence[Node], state: TransactionState) -> Transaction:
        """That transaction, over the nodes of the table."""
        transaction = cls(Tree.rooted(nodes[state.base]))
        transaction.tree = Tree.rooted(nodes[state.root])
        transaction._depends = {_path(text): Aspect(aspect) for text, aspect in state.depends.items()}
        transaction._written = {_path(text): was_removed for text, was_removed in state.written.items()}
        transaction._named = dict.fromkeys(map(_path, state.named))
        return transaction

    @property
    def nr_paths(self) -> int:
        return len(self._depends)

    def depend(self, path: Path, aspect: Aspect) -> None:
        """Note that an answer given in this transaction came from an aspect of the node at `path`."""
        self._depends[path] = self._depends.get(path, Aspect(0)) | aspect

    def wrote(self, path: Path) -> None:
        """Note that the node at `path` got new content or was created."""
        self.created_above(path)
        self._named[path] = None

    def created_above(self, path: Path) -> None:
        """Note that the node at `path` was created because one below it was."""
        self.depend(path, Aspect.CONTENT)
        self._written.setdefault(path, False)

    def removed(self, path: Path) -> None:
        """Note that the node at `path` was removed with all below it."""
        self.depend(path, Aspect.SUBTREE)
        self._written[path] = True
        self._named[path] = None

    def conflicts_with(self, current: Tree) -> bool:
        """Whether something this transaction depends on is otherwise in `current`."""
        if current.root is self._base.root:
            return False
        return any(
            not _equal(self._base.find(path), current.find(path), aspects) for path, aspects in self._depends.items()
        )

    def merged_into(self, current: Tree, generation: int) -> tuple[Tree, list[Change]]:
        """`current` with what this transaction wrote, and the changes that makes.

        Precondition: no conflict with `current`.
        """
        changes = []
        merged = current
        for path, was_removed in self._written.items():
            mine = self.tree.find(path)
            before = merged.find(path)
            if was_removed:
                if before is None and mine is None:
                    continue
                merged = merged.with_subtree(path, mine, generation)
            elif mine is None:
                continue  # it went later, with a node above it
            elif before is None:
                merged = merged.with_subtree(
                    path, Node(mine.value, mine.permissions, NO_CHILDREN, generation), generation
                )
            else:
                merged = merged.with_content(path, mine.value, mine.permissions, generation)
            if path in self._named:
                changes.append(Change(path, before, merged.find(path), merged.find(path.parent)))
        return merged, changes


def _path(text: str) -> Path:
    return Path.parse(text.encode("ascii"))


def _equal(base: Node | None, current: Node | None, aspects: Aspect) -> bool:
    if base is current:
        return True
    if base is None or current is None or Aspect.SUBTREE in aspects or base.permissions != current.permissions:
        return False
    if Aspect.CONTENT in aspects and base.value != current.value:
        return False
    return Aspect.CHILDREN not in aspects or base.children.keys() == current.children.keys()
