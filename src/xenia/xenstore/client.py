"""The store as the toolstack and the backends use it: a privileged client in the store's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

from xenia.abi.xs_wire import MessageType, XsdError
from xenia.xenstore.error import StoreError
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.wire import Packet

Request = Callable[[Packet], Packet]
OnEvent = Callable[[str], None]
_Result = TypeVar("_Result")


class Keys:
    """Reading and writing, directly or in a transaction.  Paths and values are text; every method raises StoreError."""

    def __init__(self, request: Request, transaction_id: int = 0) -> None:
        self._request = request
        self._transaction_id = transaction_id

    def read(self, path: str) -> str:
        return self._send(MessageType.READ, _text(path)).decode("utf-8", "surrogateescape")

    def get(self, path: str) -> str | None:
        """The value at `path`, None where there is no such node."""
        try:
            return self.read(path)
        except StoreError as refused:
            if refused.error is XsdError.ENOENT:
                return None
            raise

    def exists(self, path: str) -> bool:
        return self.get(path) is not None

    def write(self, path: str, value: str) -> None:
        self._send(MessageType.WRITE, _text(path) + _value(value))

    def mkdir(self, path: str) -> None:
        self._send(MessageType.MKDIR, _text(path))

    def remove(self, path: str) -> None:
        self._send(MessageType.RM, _text(path))

    def directory(self, path: str) -> list[str]:
        """The names of a node's children, however many there are."""
        try:
            return _names(self._send(MessageType.DIRECTORY, _text(path)))
        except StoreError as refused:
            if refused.error is not XsdError.E2BIG:
                raise
        while True:
            generation, listing = b"", b""
            while True:
                part = self._send(MessageType.DIRECTORY_PART, _text(path) + b"%d\0" % len(listing))
                head, _, rest = part.partition(b"\0")
                if listing and head != generation:
                    break  # it changed in between: from the start
                generation = head
                if rest.endswith(b"\0\0") or rest == b"\0":
                    return _names(listing + rest[:-1])
                listing += rest

    def permissions(self, path: str) -> Permissions:
        return Permissions.parse(self._send(MessageType.GET_PERMS, _text(path))[:-1].split(b"\0"))

    def set_permissions(self, path: str, permissions: Permissions) -> None:
        entries = "".join(f"{entry}\0" for entry in permissions.entries())
        self._send(MessageType.SET_PERMS, _text(path) + entries.encode("ascii"))

    def _send(self, kind: MessageType, payload: bytes) -> bytes:
        answer = self._request(Packet(kind, 0, self._transaction_id, payload))
        if answer.type == MessageType.ERROR:
            raise StoreError(XsdError[answer.payload[:-1].decode("ascii")])
        return answer.payload


class Subscription:
    """A watch that calls back."""

    def __init__(self, client: Client, path: str, token: str, on_event: OnEvent) -> None:
        self._client = client
        self.path = path
        self.token = token
        self.on_event: OnEvent | None = on_event

    def close(self) -> None:
        """Hear no more; an event that waits already is dropped."""
        if self.on_event is not None:
            self.on_event = None
            self._client.unwatch(self)


class Client(Keys):
    """A connection with watches and transactions; any thread may use it."""

    def __init__(self, request: Request, end: Callable[[], None] = lambda: None) -> None:
        """`end` is called when it is closed."""
        super().__init__(request)
        self._end = end
        self._closed = False
        self._tokens = count(1)
        self._subscriptions: dict[str, Subscription] = {}

    def watch(self, path: str, on_event: OnEvent) -> Subscription:
        """Call `on_event` with the path of every change at or below `path`, and once right after this.

        It is called on the store's thread and must not block; it may use this client.
        """
        subscription = Subscription(self, path, str(next(self._tokens)), on_event)
        self._subscriptions[subscription.token] = subscription
        try:
            self._send(MessageType.WATCH, _text(path) + _text(subscription.token))
        except StoreError:
            del self._subscriptions[subscription.token]
            raise
        return subscription

    def unwatch(self, subscription: Subscription) -> None:
        """What Subscription.close does."""
        del self._subscriptions[subscription.token]
        if not self._closed:
            self._send(MessageType.UNWATCH, _text(subscription.path) + _text(subscription.token))

    def close(self) -> None:
        """Hear no more, and be nobody that the store knows; what it is asked is still answered."""
        self._closed = True
        self._end()

    def deliver(self, path: bytes, token: bytes) -> None:
        """Pass an event of this connection on to who watches."""
        subscription = self._subscriptions.get(token.decode("ascii"))
        if subscription is not None and subscription.on_event is not None:
            subscription.on_event(path.decode("ascii"))

    @contextmanager
    def transaction(self) -> Iterator[Keys]:
        """Keys that change together when the block ends, or not at all when it raises.

        Raises StoreError(EAGAIN) at the end where others changed what was read or written in it.
        """
        number = int(self._send(MessageType.TRANSACTION_START, b"\0")[:-1])
        keys = Keys(self._request, number)
        try:
            yield keys
        except BaseException:
            keys._send(MessageType.TRANSACTION_END, b"F\0")
            raise
        keys._send(MessageType.TRANSACTION_END, b"T\0")

    @contextmanager
    def snapshot(self) -> Iterator[Keys]:
        """Keys as they are at one moment, for reading; what is written to them is dropped."""
        keys = Keys(self._request, int(self._send(MessageType.TRANSACTION_START, b"\0")[:-1]))
        try:
            yield keys
        finally:
            keys._send(MessageType.TRANSACTION_END, b"F\0")

    def atomically(self, change: Callable[[Keys], _Result]) -> _Result:
        """Run `change` in a transaction, again and again until it does not conflict; answers what it answered."""
        while True:
            try:
                with self.transaction() as keys:
                    result = change(keys)
            except StoreError as refused:
                if refused.error is not XsdError.EAGAIN:
                    raise
            else:
                return result


def _text(path: str) -> bytes:
    encoded = _value(path)
    if b"\0" in encoded:
        raise StoreError(XsdError.EINVAL)  # it would end there, and what is behind it mean something else
    return encoded + b"\0"


def _value(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"the store's paths and values are str, not {type(value).__name__}")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise StoreError(XsdError.EINVAL) from None  # half a character


def _names(listing: bytes) -> list[str]:
    return listing.decode("ascii").split("\0")[:-1]
