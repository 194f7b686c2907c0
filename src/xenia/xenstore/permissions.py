"""Who may do what with a node.

A node's permissions are a list: the first entry names the owner, and its letter is what every domain not named later
may do.  Further entries are a domain and its letter.  The owner and privileged domains may do everything.  A domain
that targets another (a device model) may do what its target may.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import Final, NamedTuple

from xenia.abi.xs_wire import XsdError
from xenia.xenstore.error import StoreError


class Access(IntFlag):
    """n, r, w and b of the protocol."""

    NONE = 0
    READ = 1
    WRITE = 2
    BOTH = 3


_LETTERS: Final = {"n": Access.NONE, "r": Access.READ, "w": Access.WRITE, "b": Access.BOTH}
_LETTER_OF: Final = {access: letter for letter, access in _LETTERS.items()}


def parse_domid(text: bytes) -> int:
    """A domain number in decimal.  Raises StoreError(EINVAL) for anything but 0 to 65535."""
    if 0 < len(text) <= 5 and text.isdigit() and (domid := int(text)) <= 0xFFFF:
        return domid
    raise StoreError(XsdError.EINVAL)


class Permissions(NamedTuple):
    """A node's owner, what everybody may do, and the domains that may do something else."""

    owner: int
    others: Access = Access.NONE
    domains: tuple[tuple[int, Access], ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[bytes]) -> Permissions:
        """Permissions from their strings, such as n0, r3.  Raises StoreError(EINVAL) when there is none or one is
        malformed."""
        parsed = []
        for entry in entries:
            access = _LETTERS.get(chr(entry[0])) if entry else None
            if access is None:
                raise StoreError(XsdError.EINVAL)
            parsed.append((parse_domid(entry[1:]), access))
        if not parsed:
            raise StoreError(XsdError.EINVAL)
        (owner, others), *domains = parsed
        return cls(owner, others, tuple(domains))

    def entries(self) -> list[str]:
        """The strings that `parse` takes."""
        return [f"{_LETTER_OF[access]}{domid}" for domid, access in ((self.owner, self.others), *self.domains)]

    def access_of(self, domid: int) -> Access:
        """What a domain that is neither owner nor privileged may do; the first entry that names it counts."""
        for named, access in self.domains:
            if named == domid:
                return access
        return self.others

    def owned_by(self, domid: int) -> Permissions:
        return Permissions(domid, self.others, self.domains)

    def without(self, domid: int) -> Permissions:
        """These permissions when a domain is gone: not named any more, and where it was the owner, domain 0's own."""
        if self.owner != domid and all(named != domid for named, _ in self.domains):
            return self
        owner, others = (0, Access.NONE) if self.owner == domid else (self.owner, self.others)
        return Permissions(owner, others, tuple(entry for entry in self.domains if entry[0] != domid))


class Identity(NamedTuple):
    """On whose behalf a request is made: a domain, and the domain it targets if SET_TARGET named one."""

    domid: int
    target: int | None = None

    @property
    def privileged(self) -> bool:
        return self.domid == 0

    def owns(self, permissions: Permissions) -> bool:
        """Whether it may do everything with the node, changing its permissions included."""
        return self.domid == 0 or permissions.owner == self.domid or permissions.owner == self.target

    def may(self, access: Access, permissions: Permissions) -> bool:
        if self.owns(permissions):
            return True
        granted = permissions.access_of(self.domid)
        if self.target is not None and not any(named == self.domid for named, _ in permissions.domains):
            granted = permissions.access_of(self.target)
        return granted & access == access

    def require(self, access: Access, permissions: Permissions) -> None:
        """Raises StoreError(EACCES) unless `access` is granted."""
        if not self.may(access, permissions):
            raise StoreError(XsdError.EACCES)
