"""What belongs to control domains, device models and other guests: refused as Xen 4.17 refuses an ordinary domain."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import StillDomain

PLATFORM_VERSION, SYSCTL_VERSION, DOMCTL_VERSION = 0x03000001, 0x15, 0x15
TMEM_OP = 38  # gone since Xen 4.13


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain(domid=4)


@pytest.mark.parametrize(
    ("number", "version"),
    [
        (Hypercall.PLATFORM_OP, PLATFORM_VERSION),
        (Hypercall.SYSCTL, SYSCTL_VERSION),
        (Hypercall.DOMCTL, DOMCTL_VERSION),
    ],
)
def test_control_operations_check_their_version_before_the_caller(
    domain: StillDomain, number: int, version: int
) -> None:
    domain.write(ARGUMENT, struct.pack("=III", 1, version, 0))
    assert domain.call(number, ARGUMENT) == -Errno.EPERM
    domain.write(ARGUMENT, struct.pack("=III", 1, version + 1, 0))
    assert domain.call(number, ARGUMENT) == -Errno.EACCES
    assert domain.call(number, UNMAPPED) == -Errno.EFAULT


def test_domctl_knows_no_other_domains(domain: StillDomain) -> None:
    for domid, answer in ((4, -Errno.EPERM), (0, -Errno.EPERM), (77, -Errno.ESRCH), (DOMID_SELF, -Errno.ESRCH)):
        domain.write(ARGUMENT, struct.pack("=IIH", 1, DOMCTL_VERSION, domid))
        assert domain.call(Hypercall.DOMCTL, ARGUMENT) == answer


@pytest.mark.parametrize(
    ("number", "arguments", "answer"),
    [
        (Hypercall.KEXEC_OP, (0, 0), -Errno.EPERM),
        (Hypercall.HYPFS_OP, (0, 0, 0, 0, 0), -Errno.EPERM),
        (Hypercall.MCA, (0,), -Errno.EPERM),
        (Hypercall.PAGING_DOMCTL_CONT, (UNMAPPED,), -Errno.EFAULT),
        (Hypercall.XENPMU_OP, (0, 0), -Errno.EOPNOTSUPP),
        (Hypercall.XSM_OP, (0,), -Errno.ENOSYS),
        (Hypercall.XENOPROF_OP, (0, UNMAPPED), -Errno.EFAULT),
        (Hypercall.XENOPROF_OP, (1, 0), -Errno.EPERM),
        (Hypercall.XENOPROF_OP, (18, 0), -Errno.EINVAL),
        (Hypercall.DM_OP, (DOMID_SELF, 4, ARGUMENT), -Errno.E2BIG),
        (Hypercall.DM_OP, (77, 1, ARGUMENT), -Errno.ESRCH),
        (Hypercall.DM_OP, (4, 1, ARGUMENT), -Errno.EPERM),
        (Hypercall.DM_OP, (4, 1, UNMAPPED), -Errno.EFAULT),
        (Hypercall.HVM_OP, (1, ARGUMENT), -Errno.EINVAL),
        (Hypercall.HVM_OP, (1, UNMAPPED), -Errno.EFAULT),
        (Hypercall.HVM_OP, (5, 0), -Errno.EINVAL),
        (Hypercall.HVM_OP, (99, ARGUMENT), -Errno.ENOSYS),
        (TMEM_OP, (ARGUMENT,), -Errno.ENOSYS),
        (Hypercall.ARGO_OP, (0, 0, 0, 0, 0), -Errno.ENOSYS),
    ],
)
def test_refusals(domain: StillDomain, number: int, arguments: tuple[int, ...], answer: int) -> None:
    assert domain.call(number, *arguments) == answer
