"""Hosts in namespaces, links of ours on them, and ties between those."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.peers.namespaces import Host
from tests.peers.ours import Ours
from xenia.net.link import Link
from xenia.net.links import OpenedLink, make_link, open_link, parse_link
from xenia.net.thread import LinkThread
from xenia.testing.net import Card
from xenia.testing.tie import Tie


class Lab:
    """Hosts, links that were opened on them, and ties between those."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._thread = LinkThread()
        stack.callback(self._thread.close)

    def host(self, *commands: str) -> Host:
        """One where that was run."""
        host = Host()
        self._stack.callback(host.close)
        host.run(*commands)
        return host

    def opened(self, host: Host, words: str, *options: str) -> OpenedLink:
        """A link of that host's, opened."""
        with host.entered():
            return open_link(parse_link(words, options))

    def made(self, opened: OpenedLink) -> Link:
        """The link of that."""
        link = make_link(opened.spec, opened.descriptors)
        assert isinstance(link, Link)
        self._stack.callback(link.close)
        return link

    def link(self, host: Host, words: str, *options: str) -> Link:
        """Both."""
        return self.made(self.opened(host, words, *options))

    def tie(self, one: Link, other: Link) -> None:
        """What comes out of one goes into the other."""
        tie = Tie(one, other)
        self._stack.callback(tie.close)
        self._thread.add(one)
        self._thread.add(other)

    def serve(self, link: Link) -> Card:
        """A card that is at it."""
        card = Card(link)
        self._stack.callback(card.close)
        self._thread.add(link)
        return card

    def guest(self, host: Host, script: str, *nets: str) -> Ours:
        """A guest of ours on that host."""
        guest = Ours(script, *nets, within=host.within)
        self._stack.callback(guest.close)
        return guest

    def tap(self, address: str, mac: str | None = None) -> tuple[Host, Link]:
        """A host with a TAP of that address, and the link to it."""
        host = self.host("ip tuntap add tap0 mode tap" + (f" && ip link set tap0 address {mac}" if mac else ""))
        link = self.link(host, "tap=tap0")
        host.run(f"ip addr add {address} dev tap0{' nodad' if ':' in address else ''} && ip link set tap0 up")
        return host, link


@contextmanager
def a_lab() -> Iterator[Lab]:
    """One that is left empty."""
    with ExitStack() as stack:
        yield Lab(stack)


def per_frame(link: Link) -> float:
    """Bytes of a frame that came, on average."""
    return link.statistics["received_bytes"] / link.statistics["received"]
