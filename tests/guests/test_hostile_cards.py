"""A guest that tries, through the network card it has, to reach what is not its own: it gets errors or is shut, and
nothing else happens.

The tiny guest guests/netfront makes every attempt while another domain of the same machine sends back what it is sent,
and looks at its memory in the end.

For figures: python -m tests.guests.test_hostile_cards
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.guests.tiny import kernel
from xenia import Machine
from xenia.net.layers.capture import Capture
from xenia.shutdown import Reason
from xenia.testing.netfront_flood import Crossed
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.devices.vif import NetworkCard
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.networks.cable import Cable

pytestmark = pytest.mark.guest

MIB = 1 << 20
LIMIT = 120
SHUT = "nothing, asked to close: yes, closed: yes, connected: yes\nhonest after that: yes\n"
EXPECTED = f"""\
connected: yes
honest: yes
from a read-only grant: okay
taken back: yes
from what was taken back: error
from a grant for the other domain: error
from a grant for DOMID_SELF: error
references that were not granted: 0 reached
frames of others were tried: yes
frames of others: 0 reached
into a read-only grant: error
into what was taken back: error
into a grant for the other domain: error
into the L4: error
into no frame: error
untouched by all that: yes
13 bytes: error
no bytes: error
more in its pieces than it has: error
20 pieces are 20 errors: yes
honest again: yes
honest after 20000 events: yes
past the end of its page: {SHUT}\
a chain that is cut off: {SHUT}\
a chain without an end: {SHUT}\
segments of no bytes: {SHUT}\
a transmit index that cannot be: {SHUT}\
sent all the same: okay
a receive index that cannot be: {SHUT}\
closed: yes
"""


@contextmanager
def pair(machine: Machine, role: str) -> Iterator[tuple[dict[str, bytearray], list[Domain], list[NetworkCard]]]:
    """The domain that sends everything back, begun, and one that is told what to do; each the other's network."""
    said = {"echo": bytearray(), role: bytearray()}
    one, other = Crossed(), Crossed()
    one.join(other)
    domains: list[Domain] = []
    cards: list[NetworkCard] = []
    for (name, output), port in zip(said.items(), (one, other), strict=True):
        command = f"{name} {1 + (name == 'echo')}"
        domain = machine.create_domain(kernel("netfront"), memory=16 * MIB, cmdline=command, console=output.extend)
        card = domain.attach(parse_card("null"), Cable(Capture(port)))
        assert isinstance(card, NetworkCard)
        cards.append(card)
        domains.append(domain)
    assert [domain.domid for domain in domains] == [1, 2]  # as they were told
    domains[0].start()
    while b"ready" not in said["echo"]:
        assert domains[0].wait(0.02) is None, said
    domains[1].start()
    yield said, domains, cards
    one.part()


def test_a_hostile_card_gets_errors_or_is_shut_and_reaches_nothing() -> None:
    with Machine(Machine.memory_for(16 * MIB, 16 * MIB), check=True) as machine:
        free = machine.free_memory
        with pair(machine, "attack") as (said, domains, cards):
            victim, attacker = domains
            ended = attacker.wait(LIMIT)
            assert said["attack"].decode().replace("\r", "") == EXPECTED
            assert ended is not None and ended.reason is Reason.POWEROFF
            victim.console.offer(b"q")
            assert victim.wait(LIMIT) is not None
            assert said["echo"].decode().replace("\r", "") == "connected: yes\nready\nwhole: yes\nclosed: yes\n"
            assert cards[0].statistics["sent_errors"] == cards[0].statistics["received_errors"] == 0
            for domain in domains:
                domain.handle.stop()
                assert domain.handle.audit() == []
                domain.destroy()
        assert machine.free_memory == free


if __name__ == "__main__":
    with Machine(Machine.memory_for(16 * MIB, 16 * MIB)) as machine, pair(machine, "measure") as (said, domains, _):
        domains[1].wait(LIMIT)
        print(said["measure"].decode().replace("\r", ""), end="")
