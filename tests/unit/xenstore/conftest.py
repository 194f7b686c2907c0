"""A store, and clients of it that speak in the words of the protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xenia.abi.xs_wire import MessageType, XsdError
from xenia.xenstore.connection import Connection
from xenia.xenstore.quota import Quota
from xenia.xenstore.reply import reply
from xenia.xenstore.store import Store
from xenia.xenstore.wire import Packet

Answer = bytes | XsdError


class Speaker:
    """One client: call it with a request's name and its strings, and get the reply's payload or the error it names."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self.store = store
        self.connection = connection

    def __call__(self, kind: str, *strings: str | bytes, tx: int = 0, raw: bytes | None = None) -> Answer:
        encoded = [text.encode() if isinstance(text, str) else text for text in strings]
        payload = raw if raw is not None else b"".join(text + b"\0" for text in encoded)
        if kind == "WRITE" and raw is None:
            payload = payload[:-1]
        request = Packet(MessageType[kind], 7, tx, payload)
        answer = reply(self.store, self.connection, request)
        assert (answer.req_id, answer.tx_id) == (7, tx)
        if answer.type == MessageType.ERROR:
            return XsdError[answer.payload[:-1].decode()]
        assert answer.type == request.type
        return answer.payload

    def begin(self) -> int:
        answer = self("TRANSACTION_START", "")
        assert isinstance(answer, bytes)
        return int(answer[:-1])

    def commit(self, tx: int) -> Answer:
        return self("TRANSACTION_END", "T", tx=tx)

    def events(self) -> list[tuple[str, str]]:
        """The events told since the last call."""
        return [(path.decode(), token.decode()) for path, token in self.connection.take_events(1_000_000)]


@pytest.fixture
def store() -> Store:
    return Store(Quota(nodes=20, value_size=100, watches=3, transactions=2, transaction_paths=12, events=4))


@pytest.fixture
def dom0(store: Store) -> Speaker:
    return Speaker(store, Connection(0))


@pytest.fixture
def introduce(store: Store, dom0: Speaker) -> Callable[[int], Speaker]:
    """Makes a domain with a home of its own at /local/domain/<domid>."""

    def made(domid: int) -> Speaker:
        home = f"/local/domain/{domid}"
        assert dom0("MKDIR", home) == b"OK\0"
        assert dom0("SET_PERMS", home, f"n{domid}") == b"OK\0"
        return Speaker(store, store.introduce(domid))

    return made


@pytest.fixture
def guest(introduce: Callable[[int], Speaker]) -> Speaker:
    return introduce(5)


@pytest.fixture
def other(introduce: Callable[[int], Speaker]) -> Speaker:
    return introduce(6)
