"""A guest that tries, through the network card it has, to reach what is not its own: it gets errors or is shut, and
nothing else happens.

The tiny guest guests/netfront makes every attempt while another domain of the same machine sends back what it is sent,
and looks at its memory in the end.
"""

from __future__ import annotations

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


def test_a_hostile_card_gets_errors_or_is_shut_and_reaches_nothing() -> None:
    said = {"echo": bytearray(), "attack": bytearray()}
    one, other = Crossed(), Crossed()
    one.join(other)
    with Machine(Machine.memory_for(16 * MIB, 16 * MIB), check=True) as machine:
        free = machine.free_memory
        domains: list[Domain] = []
        cards: list[NetworkCard] = []
        for (role, output), port in zip(said.items(), (one, other), strict=True):
            command = f"{role} {1 + (role == 'echo')}"
            domain = machine.create_domain(kernel("netfront"), memory=16 * MIB, cmdline=command, console=output.extend)
            card = domain.attach(parse_card("null"), Cable(Capture(port)))
            assert isinstance(card, NetworkCard)
            cards.append(card)
            domains.append(domain)
        victim, attacker = domains
        assert (victim.domid, attacker.domid) == (1, 2)  # as they were told
        victim.start()
        while b"ready" not in said["echo"]:
            assert victim.wait(0.02) is None, said
        attacker.start()
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
    one.part()
