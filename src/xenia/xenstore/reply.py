"""What the store answers: `reply(store, connection, request)` is the whole protocol.

Payloads are taken apart here, once, by functions that answer a well-formed value or raise StoreError(EINVAL).  Only
StoreError becomes an ERROR reply; any other exception is a bug of ours and goes up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.abi.xs_wire import XENSTORE_PAYLOAD_MAX, MessageType, XsdError
from xenia.xenstore.connection import Connection
from xenia.xenstore.error import StoreError
from xenia.xenstore.path import Name, Path, domain_path, parse_name
from xenia.xenstore.permissions import Permissions, parse_domid
from xenia.xenstore.store import DomainControl, Store
from xenia.xenstore.wire import Packet

_log = logging.getLogger(__name__)

OK: Final = b"OK\0"


def reply(store: Store, connection: Connection, request: Packet) -> Packet:
    """Carry out one request of a client.  Events it causes wait in the connections that `store.ready` names, this
    client's own among them: they are to follow the reply."""
    handler = _HANDLERS.get(request.type)
    try:
        if handler is None:
            raise StoreError(XsdError.ENOSYS)
        answer = handler(store, connection, request)
        if len(answer) > XENSTORE_PAYLOAD_MAX:
            raise StoreError(XsdError.E2BIG)
    except StoreError as refused:
        return request.refusal(refused.error)
    return request.reply(answer)


# --- Payloads


def _invalid() -> StoreError:
    return StoreError(XsdError.EINVAL)


def _strings(payload: bytes) -> list[bytes]:
    """The strings of a payload that consists of strings, each with a nul after it."""
    if not payload.endswith(b"\0"):
        raise _invalid()
    return payload[:-1].split(b"\0")


def _one(payload: bytes) -> bytes:
    """The string of a payload that is one string."""
    if payload.find(b"\0") != len(payload) - 1:
        raise _invalid()
    return payload[:-1]


def _number(text: bytes, bits: int) -> int:
    """An unsigned decimal number of that many bits."""
    if 0 < len(text) <= 20 and text.isdigit() and (number := int(text)) < 1 << bits:
        return number
    raise _invalid()


def _privileged(connection: Connection) -> None:
    if not connection.identity.privileged:
        raise StoreError(XsdError.EACCES)


def _path(connection: Connection, text: bytes) -> Path:
    return Path.parse(text, connection.base)


def _node_name(connection: Connection, text: bytes) -> Name:
    return parse_name(text, connection.base)


# --- Reading and writing


def _read(store: Store, connection: Connection, request: Packet) -> bytes:
    path = _path(connection, _one(request.payload))
    return store.read(connection, store.transaction(connection, request.tx_id), path)


def _directory(store: Store, connection: Connection, request: Packet) -> bytes:
    path = _path(connection, _one(request.payload))
    _, names = store.directory(connection, store.transaction(connection, request.tx_id), path)
    return _listing(names)


def _directory_part(store: Store, connection: Connection, request: Packet) -> bytes:
    """<path>|<offset>| is answered with <generation>|, then whole names from that byte of the listing on; an empty
    name at the end says that nothing follows."""
    strings = _strings(request.payload)
    if len(strings) != 2:
        raise _invalid()
    offset = _number(strings[1], 32)
    path = _path(connection, strings[0])
    generation, names = store.directory(connection, store.transaction(connection, request.tx_id), path)
    listing = _listing(names)
    head = b"%d\0" % generation
    end = offset + XENSTORE_PAYLOAD_MAX - len(head) - 1
    if end >= len(listing):
        return head + listing[offset:] + b"\0"
    return head + listing[offset : listing.rfind(b"\0", 0, end) + 1]


def _listing(names: list[str]) -> bytes:
    return "".join([f"{name}\0" for name in names]).encode("ascii")


def _get_permissions(store: Store, connection: Connection, request: Packet) -> bytes:
    name = _node_name(connection, _one(request.payload))
    permissions = store.get_permissions(connection, store.transaction(connection, request.tx_id), name)
    return _listing(permissions.entries())


def _write(store: Store, connection: Connection, request: Packet) -> bytes:
    text, nul, value = request.payload.partition(b"\0")
    if not nul:
        raise _invalid()
    store.write(connection, store.transaction(connection, request.tx_id), _path(connection, text), value)
    return OK


def _mkdir(store: Store, connection: Connection, request: Packet) -> bytes:
    path = _path(connection, _one(request.payload))
    store.mkdir(connection, store.transaction(connection, request.tx_id), path)
    return OK


def _remove(store: Store, connection: Connection, request: Packet) -> bytes:
    path = _path(connection, _one(request.payload))
    store.remove(connection, store.transaction(connection, request.tx_id), path)
    return OK


def _set_permissions(store: Store, connection: Connection, request: Packet) -> bytes:
    text, *entries = _strings(request.payload)
    permissions = Permissions.parse(entries)
    name = _node_name(connection, text)
    store.set_permissions(connection, store.transaction(connection, request.tx_id), name, permissions)
    return OK


# --- Watches and transactions


def _watch_of(connection: Connection, request: Packet) -> tuple[Name, bytes, bool]:
    strings = _strings(request.payload)
    if len(strings) not in (2, 3):
        raise _invalid()
    return parse_name(strings[0], connection.base), strings[1], not strings[0].startswith((b"/", b"@"))


def _watch(store: Store, connection: Connection, request: Packet) -> bytes:
    name, token, relative = _watch_of(connection, request)
    store.watch(connection, name, token, relative)
    return OK


def _unwatch(store: Store, connection: Connection, request: Packet) -> bytes:
    name, token, _ = _watch_of(connection, request)
    store.unwatch(connection, name, token)
    return OK


def _reset_watches(store: Store, connection: Connection, request: Packet) -> bytes:
    store.reset(connection)
    return OK


def _transaction_start(store: Store, connection: Connection, request: Packet) -> bytes:
    if request.tx_id:
        raise StoreError(XsdError.EBUSY)
    return b"%d\0" % store.transaction_start(connection)


def _transaction_end(store: Store, connection: Connection, request: Packet) -> bytes:
    if request.payload not in (b"T\0", b"F\0"):
        raise _invalid()
    store.transaction_end(connection, request.tx_id, request.payload == b"T\0")
    return OK


# --- Domains


def _control(store: Store, connection: Connection) -> DomainControl:
    _privileged(connection)
    if store.control is None:
        raise _invalid()
    return store.control


def _introduce(store: Store, connection: Connection, request: Packet) -> bytes:
    control = _control(store, connection)
    strings = _strings(request.payload)
    if len(strings) < 3:
        raise _invalid()
    domid = parse_domid(strings[0])
    if not 0 < domid < DOMID_FIRST_RESERVED:
        raise _invalid()
    control.introduce(domid, _number(strings[1], 63), _number(strings[2], 32))
    return OK


def _release(store: Store, connection: Connection, request: Packet) -> bytes:
    control = _control(store, connection)
    domid = parse_domid(_one(request.payload))
    if domid == 0:
        raise _invalid()
    if domid not in store.domains:
        raise StoreError(XsdError.ENOENT)
    control.release(domid)
    return OK


def _resume(store: Store, connection: Connection, request: Packet) -> bytes:
    _privileged(connection)
    store.resume(parse_domid(_one(request.payload)))
    return OK


def _set_target(store: Store, connection: Connection, request: Packet) -> bytes:
    _privileged(connection)
    strings = _strings(request.payload)
    if len(strings) != 2:
        raise _invalid()
    store.set_target(parse_domid(strings[0]), parse_domid(strings[1]))
    return OK


def _get_domain_path(store: Store, connection: Connection, request: Packet) -> bytes:
    return b"%b\0" % str(domain_path(parse_domid(_one(request.payload)))).encode("ascii")


def _is_domain_introduced(store: Store, connection: Connection, request: Packet) -> bytes:
    return b"T\0" if store.is_introduced(parse_domid(_one(request.payload))) else b"F\0"


# --- Control


def _control_check(store: Store, arguments: list[bytes]) -> bytes:
    wrong = store.check()
    return "\n".join(wrong).encode("ascii") + b"\0" if wrong else OK


def _control_print(store: Store, arguments: list[bytes]) -> bytes:
    _log.info("%s", b" ".join(arguments).decode("ascii", "backslashreplace"))
    return OK


def _control_quota(store: Store, arguments: list[bytes]) -> bytes:
    lines = [f"{name}: {limit}" for name, limit in asdict(store.quota).items()]
    lines += [f"domain {domid}: {count} nodes" for domid, count in sorted(store.tree.owned.items())]
    return "\n".join(lines).encode("ascii") + b"\0"


def _control_help(store: Store, arguments: list[bytes]) -> bytes:
    return "\n".join(name.decode("ascii") for name in sorted(_CONTROLS)).encode("ascii") + b"\0"


_CONTROLS: Final[Mapping[bytes, Callable[[Store, list[bytes]], bytes]]] = {
    b"check": _control_check,
    b"help": _control_help,
    b"print": _control_print,
    b"quota": _control_quota,
}


def _control_command(store: Store, connection: Connection, request: Packet) -> bytes:
    _privileged(connection)
    command, *arguments = _strings(request.payload)
    handler = _CONTROLS.get(command)
    if handler is None:
        raise _invalid()
    return handler(store, arguments)


_HANDLERS: Final[Mapping[int, Callable[[Store, Connection, Packet], bytes]]] = {
    MessageType.CONTROL: _control_command,
    MessageType.DIRECTORY: _directory,
    MessageType.READ: _read,
    MessageType.GET_PERMS: _get_permissions,
    MessageType.WATCH: _watch,
    MessageType.UNWATCH: _unwatch,
    MessageType.TRANSACTION_START: _transaction_start,
    MessageType.TRANSACTION_END: _transaction_end,
    MessageType.INTRODUCE: _introduce,
    MessageType.RELEASE: _release,
    MessageType.GET_DOMAIN_PATH: _get_domain_path,
    MessageType.WRITE: _write,
    MessageType.MKDIR: _mkdir,
    MessageType.RM: _remove,
    MessageType.SET_PERMS: _set_permissions,
    MessageType.IS_DOMAIN_INTRODUCED: _is_domain_introduced,
    MessageType.RESUME: _resume,
    MessageType.SET_TARGET: _set_target,
    MessageType.RESET_WATCHES: _reset_watches,
    MessageType.DIRECTORY_PART: _directory_part,
}
