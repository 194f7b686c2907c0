"""The store: its tree, and the rules of who may do what with it.

Every operation acts for a connection, in one of its transactions or directly (None).  It answers a plain value or
raises StoreError, and then nothing changed.  No threads, no bytes of the wire, no transports: who drives the store
takes the connections that have new events from `ready`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from xenia.abi.xen import DOMID_SELF
from xenia.abi.xs_wire import XsdError
from xenia.xenstore.connection import Connection
from xenia.xenstore.error import StoreError
from xenia.xenstore.path import INTRODUCE_DOMAIN, RELEASE_DOMAIN, ROOT, Name, Path, Special, parse_name
from xenia.xenstore.permissions import Access, Identity, Permissions
from xenia.xenstore.persist import IntroducedState, NodeTable, StoreState, WatchState, nodes_of, permissions_of
from xenia.xenstore.quota import Quota
from xenia.xenstore.transaction import Aspect, Transaction
from xenia.xenstore.tree import NO_CHILDREN, Node, Tree, chain, count_owners
from xenia.xenstore.watch import Change, Watch, Watches


class DomainControl(ABC):
    """What carries out INTRODUCE and RELEASE: the store itself neither maps pages nor binds event channels."""

    __slots__ = ()

    @abstractmethod
    def introduce(self, domid: int, mfn: int, port: int) -> None:
        """Serve the domain whose store page and event channel these are.  Raises StoreError(EINVAL) if they are not."""

    @abstractmethod
    def release(self, domid: int) -> None:
        """Serve the domain no more."""


@dataclass(slots=True)
class IntroducedDomain:
    """A domain the store talks to."""

    connection: Connection
    # It shut down, and @releaseDomain said so; once is enough until RESUME.
    is_shutdown: bool = False


class Store:
    """All state of one xenstore."""

    def __init__(self, quota: Quota | None = None, control: DomainControl | None = None) -> None:
        self.quota = quota if quota is not None else Quota()
        self.control = control
        self.watches = Watches()
        self.domains: dict[int, IntroducedDomain] = {}
        # Connections that have had events put to them since somebody last emptied this; a dict for its order.
        self.ready: dict[Connection, None] = {}
        self._generations = count(1)
        private = Permissions(0)
        self.tree = Tree.rooted(Node(b"", private, NO_CHILDREN, next(self._generations)))
        self.special_permissions: dict[Special, Permissions] = {INTRODUCE_DOMAIN: private, RELEASE_DOMAIN: private}

    # --- Reading

    def read(self, connection: Connection, transaction: Transaction | None, path: Path) -> bytes:
        return self._get(connection, transaction, path, Access.READ, Aspect.CONTENT).value

    def directory(self, connection: Connection, transaction: Transaction | None, path: Path) -> tuple[int, list[str]]:
        """The generation of a node and the names of its children."""
        node = self._get(connection, transaction, path, Access.READ, Aspect.CHILDREN)
        return node.generation, list(node.children)

    def get_permissions(self, connection: Connection, transaction: Transaction | None, name: Name) -> Permissions:
        if isinstance(name, Special):
            permissions = self._special(name)
            connection.identity.require(Access.READ, permissions)
            return permissions
        return self._get(connection, transaction, name, Access.READ, Aspect.PERMISSIONS).permissions

    # --- Writing

    def write(self, connection: Connection, transaction: Transaction | None, path: Path, value: bytes) -> None:
        """Give a node a value, creating it and what is missing above it."""
        if len(value) > self.quota.value_size and not connection.identity.privileged:
            raise StoreError(XsdError.ENOSPC)
        tree = self._tree(transaction)
        before = tree.find(path)
        if before is None:
            self._create(connection, transaction, path, value)
            return
        connection.identity.require(Access.WRITE, before.permissions)
        self._put_content(connection, transaction, path, before, value, before.permissions)

    def mkdir(self, connection: Connection, transaction: Transaction | None, path: Path) -> None:
        """Create a node, and what is missing above it, unless it exists."""
        before = self._tree(transaction).find(path)
        if before is None:
            self._create(connection, transaction, path, b"")
            return
        self._depend(connection, transaction, path, Aspect.CONTENT)
        connection.identity.require(Access.WRITE, before.permissions)

    def remove(self, connection: Connection, transaction: Transaction | None, path: Path) -> None:
        """Remove a node with all below it; a node that is not there is removed already, if the one above it is
        there."""
        if path == ROOT:
            raise StoreError(XsdError.EINVAL)
        tree = self._tree(transaction)
        before = tree.find(path)
        if before is None:
            where, nearest = tree.nearest(path)
            self._depend(connection, transaction, path, Aspect.CONTENT)
            self._depend(connection, transaction, path.parent, Aspect.PERMISSIONS)
            connection.identity.require(Access.WRITE, nearest.permissions)
            if where != path.parent:
                raise StoreError(XsdError.ENOENT)
            return
        connection.identity.require(Access.WRITE, before.permissions)
        self._depend(connection, transaction, path, Aspect.SUBTREE)
        after = tree.with_subtree(path, None, next(self._generations))
        if transaction is not None:
            transaction.tree = after
            transaction.removed(path)
            return
        self.tree = after
        self._tell(Change(path, before, None, after.find(path.parent)))

    def set_permissions(
        self, connection: Connection, transaction: Transaction | None, name: Name, permissions: Permissions
    ) -> None:
        """Raises EACCES unless the connection owns the node, EPERM where an unprivileged one would give it away."""
        identity = connection.identity
        if isinstance(name, Special):
            if not identity.owns(self._special(name)):
                raise StoreError(XsdError.EACCES)
            self.special_permissions[name] = permissions
            return
        before = self._get(connection, transaction, name, Access.WRITE, Aspect.CONTENT)
        if not identity.owns(before.permissions):
            raise StoreError(XsdError.EACCES)
        if not identity.privileged:
            if permissions.owner != before.permissions.owner:
                raise StoreError(XsdError.EPERM)
            if 1 + len(permissions.domains) > self.quota.permissions:
                raise StoreError(XsdError.ENOSPC)
        self._put_content(connection, transaction, name, before, before.value, permissions)

    # --- Watches

    def watch(self, connection: Connection, name: Name, token: bytes, relative: bool) -> None:
        """Set a watch.  It is triggered once straight away."""
        identity = connection.identity
        if connection.nr_watches >= self.quota.watches and not identity.privileged:
            raise StoreError(XsdError.E2BIG)
        watch = Watch.on(connection, name, token, relative)
        self.watches.add(watch)
        connection.nr_watches += 1
        self._notify(watch)

    def unwatch(self, connection: Connection, name: Name, token: bytes) -> None:
        self.watches.remove(connection, name, token)
        connection.nr_watches -= 1

    # --- Transactions

    def transaction_start(self, connection: Connection) -> int:
        if len(connection.transactions) >= self.quota.transactions and not connection.identity.privileged:
            raise StoreError(XsdError.ENOSPC)
        transaction_id = connection.new_transaction_id()
        connection.transactions[transaction_id] = Transaction(self.tree)
        return transaction_id

    def transaction(self, connection: Connection, transaction_id: int) -> Transaction | None:
        """The transaction of that number, None for 0.  Raises StoreError(ENOENT) if the connection has none such."""
        if transaction_id == 0:
            return None
        transaction = connection.transactions.get(transaction_id)
        if transaction is None:
            raise StoreError(XsdError.ENOENT)
        return transaction

    def transaction_end(self, connection: Connection, transaction_id: int, commit: bool) -> None:
        """Close a transaction.  Raises EAGAIN where it conflicts with what others did, ENOSPC where it now exceeds
        the quota; the transaction is gone in any case."""
        transaction = connection.transactions.pop(transaction_id, None)
        if transaction is None:
            raise StoreError(XsdError.ENOENT)
        if not commit:
            return
        if transaction.conflicts_with(self.tree):
            raise StoreError(XsdError.EAGAIN)
        merged, changes = transaction.merged_into(self.tree, next(self._generations))
        domid = connection.identity.domid
        if merged.owned.get(domid, 0) > self.tree.owned.get(domid, 0):
            self._check_nodes(connection.identity, merged.owned.get(domid, 0))
        self.tree = merged
        for change in changes:
            self._tell(change)

    # --- Domains

    def introduce(self, domid: int) -> Connection:
        """Begin to talk to a domain, or begin anew; answers its connection."""
        known = self.domains.get(domid)
        if known is not None:
            self.disconnect(known.connection)
        connection = Connection(domid)
        self.domains[domid] = IntroducedDomain(connection)
        self._tell_special(INTRODUCE_DOMAIN)
        return connection

    def release(self, domid: int) -> None:
        """Forget a domain and everything that is its own.  Raises StoreError(ENOENT) if it was not introduced."""
        known = self.domains.pop(domid, None)
        if known is None:
            raise StoreError(XsdError.ENOENT)
        self.disconnect(known.connection)
        for other in self.domains.values():
            if other.connection.identity.target == domid:
                other.connection.identity = Identity(other.connection.identity.domid)
        before = self.tree
        self.tree, removed = before.without_domain(domid, next(self._generations))
        for path in removed:
            self._tell(Change(path, before.find(path), None, self.tree.find(path.parent)))
        for name, permissions in self.special_permissions.items():
            self.special_permissions[name] = permissions.without(domid)
        self._tell_special(RELEASE_DOMAIN)

    def shutdown(self, domid: int) -> None:
        """A domain shut down or crashed; those who watch @releaseDomain hear of it once."""
        known = self.domains.get(domid)
        if known is not None and not known.is_shutdown:
            known.is_shutdown = True
            self._tell_special(RELEASE_DOMAIN)

    def resume(self, domid: int) -> None:
        """A domain that shut down runs again.  Raises StoreError(ENOENT) if it was not introduced."""
        self._introduced(domid).is_shutdown = False

    def set_target(self, domid: int, target: int) -> None:
        """Let a domain act for another.  Raises StoreError(ENOENT) if one of them was not introduced."""
        connection = self._introduced(domid).connection
        self._introduced(target)
        connection.identity = Identity(domid, target)

    def is_introduced(self, domid: int) -> bool:
        """Whether the store talks to the domain; it does to whoever asks about itself."""
        return domid in (0, DOMID_SELF) or domid in self.domains

    def reset(self, connection: Connection) -> None:
        """Drop a connection's watches, transactions and waiting events."""
        self.watches.remove_all(connection)
        connection.nr_watches = 0
        connection.transactions.clear()
        connection.forget_events()

    def disconnect(self, connection: Connection) -> None:
        """A connection ended."""
        self.reset(connection)
        self.ready.pop(connection, None)

    def save(self, others: Sequence[Connection] = ()) -> StoreState:
        """All that the store is, with the connections of its domains and these `others`.  What further ones have set
        and begun is left out."""
        nodes = NodeTable()
        connections = [*(known.connection for known in self.domains.values()), *others]
        places = {connection: place for place, connection in enumerate(connections)}
        generation = next(self._generations)
        self._generations = count(generation)  # it was looked at, not taken
        return StoreState(
            root=nodes.put(self.tree.root),
            next_generation=generation,
            special_permissions={name.text: tuple(has.entries()) for name, has in self.special_permissions.items()},
            connections=tuple(connection.save(nodes) for connection in connections),
            domains={
                domid: IntroducedState(places[known.connection], known.is_shutdown)
                for domid, known in self.domains.items()
            },
            watches=tuple(
                WatchState(places[watch.connection], str(watch.name), watch.token, watch.relative)
                for watch in self.watches
                if watch.connection in places
            ),
            ready=tuple(places[connection] for connection in self.ready if connection in places),
            nodes=nodes.rows,
        )

    @classmethod
    def restore(cls, state: StoreState, quota: Quota | None = None) -> tuple[Store, list[Connection]]:
        """That store, and the connections that it had; first those of its domains, then the others."""
        store = cls(quota)
        nodes = nodes_of(state.nodes)
        store.tree = Tree.rooted(nodes[state.root])
        store._generations = count(state.next_generation)
        store.special_permissions = {
            Special(name): permissions_of(entries) for name, entries in state.special_permissions.items()
        }
        connections = [Connection.restore(nodes, one) for one in state.connections]
        for domid, known in state.domains.items():
            store.domains[domid] = IntroducedDomain(connections[known.connection], known.is_shutdown)
        for one in state.watches:
            connection = connections[one.connection]
            name = parse_name(one.name.encode("ascii"), connection.base)
            store.watches.add(Watch.on(connection, name, one.token, one.relative))
            connection.nr_watches += 1
        store.ready = dict.fromkeys(connections[place] for place in state.ready)
        return store, connections

    def check(self) -> list[str]:
        """Recount what the store keeps counts of; each line of the answer is a difference, and a bug of ours."""
        wrong = []
        recounted = count_owners(self.tree.root)
        if dict(recounted) != dict(self.tree.owned):
            wrong.append(f"nodes owned: {dict(self.tree.owned)} kept, {dict(recounted)} found")
        found = self.watches.count()
        for connection, number in found.items():
            if connection.nr_watches != number:
                domid = connection.identity.domid
                wrong.append(f"watches of domain {domid}: {connection.nr_watches} kept, {number} found")
        return wrong

    # --- The rules behind them

    def _tree(self, transaction: Transaction | None) -> Tree:
        return self.tree if transaction is None else transaction.tree

    def _get(
        self, connection: Connection, transaction: Transaction | None, path: Path, access: Access, aspect: Aspect
    ) -> Node:
        """The node at `path`, noted in the transaction.  A missing one is EACCES to who may not do the same to the
        nearest node above it, else ENOENT."""
        if transaction is not None:
            self._depend(connection, transaction, path, aspect)
        tree = self._tree(transaction)
        node = tree.find(path)
        if node is None:
            connection.identity.require(access, tree.nearest(path)[1].permissions)
            raise StoreError(XsdError.ENOENT)
        connection.identity.require(access, node.permissions)
        return node

    def _put_content(
        self,
        connection: Connection,
        transaction: Transaction | None,
        path: Path,
        before: Node,
        value: bytes,
        permissions: Permissions,
    ) -> None:
        self._depend(connection, transaction, path, Aspect.CONTENT)
        after = self._tree(transaction).with_content(path, value, permissions, next(self._generations))
        if transaction is not None:
            transaction.tree = after
            transaction.wrote(path)
            return
        self.tree = after
        self._tell(Change(path, before, after.find(path), after.find(path.parent)))

    def _create(self, connection: Connection, transaction: Transaction | None, path: Path, value: bytes) -> None:
        """Create the missing nodes down to `path`.  They inherit the permissions of the node above them, but an
        unprivileged domain owns what it creates."""
        identity = connection.identity
        tree = self._tree(transaction)
        where, parent = tree.nearest(path)
        identity.require(Access.WRITE, parent.permissions)
        names = path.names[len(where.names) :]
        permissions = parent.permissions
        if not identity.privileged:
            permissions = permissions.owned_by(identity.domid)
            if len(path.names) > self.quota.depth:
                raise StoreError(XsdError.ENOSPC)
            self._check_nodes(identity, tree.owned.get(identity.domid, 0) + len(names))
        top = where.child(names[0])
        generation = next(self._generations)
        new = chain(names, value, permissions, generation)
        if transaction is not None:
            self._depend(connection, transaction, where, Aspect.PERMISSIONS, len(names))
            transaction.tree = tree.with_subtree(top, new, generation)
            for depth in range(len(where.names) + 1, len(path.names)):
                transaction.created_above(Path(path.names[:depth]))
            transaction.wrote(path)
            return
        self.tree = tree.with_subtree(top, new, generation)
        self._tell(Change(path, None, self.tree.find(path), self.tree.find(path.parent)))

    def _depend(
        self,
        connection: Connection,
        transaction: Transaction | None,
        path: Path,
        aspect: Aspect,
        nr_written: int = 0,
    ) -> None:
        """Note in a transaction what an answer depends on, if the quota allows that and `nr_written` paths more."""
        if transaction is None:
            return
        touched = sum(other.nr_paths for other in connection.transactions.values()) + 1 + nr_written
        if touched > self.quota.transaction_paths and not connection.identity.privileged:
            raise StoreError(XsdError.ENOSPC)
        transaction.depend(path, aspect)

    def _check_nodes(self, identity: Identity, owned: int) -> None:
        if owned > self.quota.nodes and not identity.privileged:
            raise StoreError(XsdError.ENOSPC)

    def _special(self, name: Special) -> Permissions:
        permissions = self.special_permissions.get(name)
        if permissions is None:
            raise StoreError(XsdError.ENOENT)
        return permissions

    def _introduced(self, domid: int) -> IntroducedDomain:
        known = self.domains.get(domid)
        if known is None:
            raise StoreError(XsdError.ENOENT)
        return known

    def _tell(self, change: Change) -> None:
        for watch, path in self.watches.concerned(change):
            self._notify(watch, path)

    def _tell_special(self, name: Special) -> None:
        permissions = self._special(name)
        for watch in self.watches.special(name):
            if watch.connection.identity.may(Access.READ, permissions):
                self._notify(watch)

    def _notify(self, watch: Watch, path: Path | None = None) -> None:
        watch.connection.tell(watch, path, self.quota.events)
        self.ready[watch.connection] = None
