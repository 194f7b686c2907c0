"""Host threads for the pcpus of a pool: they come with the first domain that runs there, and go with the last.

A machine's pool has one for each processor that the host lets it use, and the credit policy.  Where a machine has none,
each domain has a pool of its own with a pcpu for each of its vcpus and the null policy, and the host's scheduler shares
the processors out.
"""

from typing import Any

class PcpuPool:
    """A pcpu for each of `names`, which are those of their threads, under the policy "credit2" or "null"; `spare`: the
    host has more processors."""
    @property
    def names(self) -> list[str]: ...
    def __init__(self, alarms: object, policy: str, names: list[Any], confine: bool, spare: bool) -> None: ...
