"""xen_version and vm_assist, as Xen 4.17 answers a PV domain (public/version.h, public/xen.h)."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, HYPERVISOR, UNMAPPED, call
from xenia.abi.errno import Errno
from xenia.abi.xen import Hypercall
from xenia.testing.still import StillDomain

(
    VERSION,
    EXTRAVERSION,
    COMPILE_INFO,
    CAPABILITIES,
    CHANGESET,
    PLATFORM,
    FEATURES,
    PAGESIZE,
    HANDLE,
    COMMANDLINE,
    BUILD_ID,
) = range(11)
WRITABLE_PAGETABLES, RUNSTATE_UPDATE, M2P_STRICT = 2, 5, 32


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


def text(domain: StillDomain, command: int) -> bytes:
    domain.write(ARGUMENT, b"x" * 200)
    assert domain.call(Hypercall.XEN_VERSION, command, ARGUMENT) == 0
    return domain.read(ARGUMENT, 200).split(b"\0")[0]


def test_it_is_xen_4_17(domain: StillDomain) -> None:
    assert domain.call(Hypercall.XEN_VERSION, VERSION, 0) == 4 << 16 | 17
    assert text(domain, EXTRAVERSION) == b"-xenia"


def test_it_runs_64_bit_pv_guests(domain: StillDomain) -> None:
    assert text(domain, CAPABILITIES).split() == [b"xen-3.0-x86_64"]
    domain.write(ARGUMENT, bytes(8))
    assert domain.call(Hypercall.XEN_VERSION, PLATFORM, ARGUMENT) == 0
    assert int.from_bytes(domain.read(ARGUMENT, 8), "little") == HYPERVISOR


def test_features_are_those_real_xen_gives_a_pv_domain(domain: StillDomain) -> None:
    assert call(domain, Hypercall.XEN_VERSION, FEATURES, "=II", 0, 0) == (0, (0, 0x220E0))
    assert call(domain, Hypercall.XEN_VERSION, FEATURES, "=II", 1, 9) == (-Errno.EINVAL, (1, 9))


def test_texts_have_the_length_of_their_fields(domain: StillDomain) -> None:
    for command, length in ((EXTRAVERSION, 16), (CHANGESET, 64), (COMPILE_INFO, 144)):
        domain.write(ARGUMENT, b"x" * 200)
        assert domain.call(Hypercall.XEN_VERSION, command, ARGUMENT) == 0
        assert domain.read(ARGUMENT + length, 8) == b"x" * 8
        assert b"x" * 8 not in domain.read(ARGUMENT, length)


def test_the_handle_is_the_domains_uuid(domain: StillDomain) -> None:
    domain.set_handle(bytes(range(16)))
    assert domain.call(Hypercall.XEN_VERSION, HANDLE, ARGUMENT) == 0
    assert domain.read(ARGUMENT, 16) == bytes(range(16))


def test_the_page_size_takes_no_argument(domain: StillDomain) -> None:
    assert domain.call(Hypercall.XEN_VERSION, PAGESIZE, 0) == 4096
    assert domain.call(Hypercall.XEN_VERSION, PAGESIZE, ARGUMENT) == -Errno.EINVAL


def test_the_hypervisors_own_affairs_are_denied(domain: StillDomain) -> None:
    assert text(domain, COMMANDLINE) == b"<denied>"
    assert domain.call(Hypercall.XEN_VERSION, BUILD_ID, 0) == -Errno.EPERM
    assert domain.call(Hypercall.XEN_VERSION, 11, 0) == -Errno.ENOSYS


@pytest.mark.parametrize("command", [c for c in range(10) if c not in (VERSION, PAGESIZE)])
def test_answers_that_cannot_be_written_are_a_fault(domain: StillDomain, command: int) -> None:
    assert domain.call(Hypercall.XEN_VERSION, command, UNMAPPED) == -Errno.EFAULT


def test_assists_go_on_and_off(domain: StillDomain) -> None:
    for kind in (0, 1, WRITABLE_PAGETABLES, 3, 4, RUNSTATE_UPDATE, M2P_STRICT):
        assert domain.call(Hypercall.VM_ASSIST, 0, kind) == 0
        assert domain.vm_assist == 1 << kind
        assert domain.call(Hypercall.VM_ASSIST, 1, kind) == 0
        assert domain.vm_assist == 0
    for kind in (6, 31, 33, 63, 64, 1 << 31):
        assert domain.call(Hypercall.VM_ASSIST, 0, kind) == -Errno.EINVAL
    assert domain.call(Hypercall.VM_ASSIST, 2, WRITABLE_PAGETABLES) == -Errno.ENOSYS


def test_compile_info_names_a_compiler(domain: StillDomain) -> None:
    domain.call(Hypercall.XEN_VERSION, COMPILE_INFO, ARGUMENT)
    assert all(field.rstrip(b"\0") for field in struct.unpack("64s16s32s32s", domain.read(ARGUMENT, 144)))
