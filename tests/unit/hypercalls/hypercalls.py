"""What the hypercall tests share: a guest's way of making them on a StillDomain."""

import struct

from xenia.testing.still import BASE, StillDomain

ARGUMENT = BASE  # where a structure goes before a call
LIST = BASE + 0x1000  # where a list goes that it points to
UNMAPPED = BASE + 0x100000
HYPERVISOR = 0xFFFF800000000000


def call(
    domain: StillDomain, number: int, command: int, layout: str, *fields: int | bytes
) -> tuple[int, tuple[int, ...]]:
    """`number(command, &structure)`: the result, and the structure's fields as the hypercall left them."""
    data = struct.pack(layout, *fields)
    domain.write(ARGUMENT, data)
    result = domain.call(number, command, ARGUMENT)
    return result, struct.unpack(layout, domain.read(ARGUMENT, len(data)))
