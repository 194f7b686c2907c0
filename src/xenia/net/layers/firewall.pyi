"""Who may speak with whom: rules, of which the first that matches decides; what none matches is allowed.

Unless it is told to be stateless, answers to what was allowed are allowed, whatever the rules for the way back say:
those of the same addresses and ports, and ICMP errors about them.  What begins something, a SYN or an echo request, is
always judged by the rules.

A rule for ports is asked of packets that hide theirs too, a later fragment, or headers that do not end within a
frame's head: where all else of it matches, whatever it says, the packet is dropped as `hidden`.  So is what hides its
protocol from a rule for protocols.

What a guest needs to keep its addresses is judged by no rule: neighbour discovery, MLD, and DHCP as a client; and ARP
by such alone as name it.
"""

from typing import Any

from xenia.net.layer import Layer
from xenia.net.layers.rules import Rules
from xenia.net.port import Port

class Firewall(Layer):
    """Over a port, with these rules; without any it is not there."""
    def __init__(self, lower: Port, rules: Rules) -> None: ...
    @property
    def kind(self) -> str:
        """See Layer.kind."""
        ...
    @property
    def reasons(self) -> tuple[str, ...]:
        """See Layer.reasons."""
        ...
    def configure(self, rules: Rules) -> None:
        """From now on those: what was allowed before is judged anew."""
        ...
    def counts(self) -> dict[str, Any]:
        """See Layer.counts; and how many rules there are, and flows that are remembered."""
        ...
