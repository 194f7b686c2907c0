"""What a guest can have more and more of ends somewhere.

Event channels: test_event; timers: test_sched; multicalls in multicalls: test_table; memory: test_memory.
"""

import struct

from tests.unit.hypercalls.hypercalls import ARGUMENT, LIST
from tests.unit.hypercalls.test_grant_table import GRANTER, MAPPING, REF, Pair, setup
from xenia.abi.grant_table import (
    GNTMAP_device_map as DEVICE,
    GNTST_general_error as ERROR,
    GNTST_no_space as NO_SPACE,
    GNTST_okay as OKAY,
    GNTTABOP_map_grant_ref as MAP,
    GNTTABOP_setup_table as SETUP,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import StillDomain

MOST_HANDLES = 1 << 18
MOST_GRANT_FRAMES = 64


def test_a_domain_holds_so_many_grants_and_no_more() -> None:
    pair = Pair()
    pair.grant()
    count = 3 * 4096 // 32
    batch = struct.pack(MAPPING, 0, DEVICE, REF, GRANTER, 99, 99, 99) * count
    statuses = {OKAY: 0, NO_SPACE: 0}
    while not statuses[NO_SPACE]:
        pair.grantee.write(LIST, batch)
        assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, MAP, LIST, count) == 0
        for page in range(3):
            for fields in struct.iter_unpack(MAPPING, pair.grantee.read(LIST + 4096 * page, 4096)):
                statuses[fields[4]] += 1
    assert statuses[OKAY] == MOST_HANDLES
    assert pair.unmap(17, address=0, device=pair.mfn << 12) == OKAY
    assert pair.map(DEVICE)[:2] == (OKAY, 17)
    assert pair.map(DEVICE)[0] == NO_SPACE
    pair.grantee.destroy()
    assert pair.granter.audit() == []


def test_a_grant_table_has_so_many_frames_and_no_more() -> None:
    domain = StillDomain(memory=4 << 20)
    assert len(setup(domain, MOST_GRANT_FRAMES)) == MOST_GRANT_FRAMES
    domain.write(ARGUMENT, struct.pack("<HxxIhxxxxxxQ", DOMID_SELF, MOST_GRANT_FRAMES + 1, 99, LIST))
    assert domain.call(Hypercall.GRANT_TABLE_OP, SETUP, ARGUMENT, 1) == 0
    assert struct.unpack("<h", domain.read(ARGUMENT + 8, 2))[0] == ERROR
