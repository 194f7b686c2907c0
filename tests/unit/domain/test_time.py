"""Virtual time: what the guest computes from vcpu_time_info, calibration, warping, the wallclock."""

import random
import struct

import pytest

from xenia.testing.still import StillDomain

SECOND = 1_000_000_000
MS = 1_000_000


def guest_time(domain: StillDomain) -> int:
    """System time as a guest works it out (public/xen.h, vcpu_time_info)."""
    version, stamp, system_time, mul, shift, _flags = struct.unpack("=I4xQQIbB2x", domain.time_info)
    assert version and version % 2 == 0
    delta = domain.tsc - stamp
    delta = delta << shift if shift >= 0 else delta >> -shift
    return int(system_time + (delta * mul >> 32))


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


def test_guest_and_hypervisor_read_the_same_time(domain: StillDomain) -> None:
    for _ in range(50):
        domain.advance(37 * MS)
        assert guest_time(domain) == domain.now
        domain.fire()
        assert guest_time(domain) == domain.now


def test_the_tsc_is_called_stable_so_that_guests_user_mode_may_read_it(domain: StillDomain) -> None:
    assert domain.time_info[29] & 1


def test_time_keeps_to_the_hosts_clock(domain: StillDomain) -> None:
    start = domain.now
    for _ in range(600):
        domain.advance(SECOND)
        domain.fire()
    assert abs(domain.now - start - 600 * SECOND) < 1000


def test_time_never_goes_back_whatever_the_tsc_does_against_the_host(domain: StillDomain) -> None:
    choose = random.Random(1)
    last = domain.now
    for _ in range(2000):
        domain.advance(choose.randrange(1, 900 * MS))
        domain.drift(choose.randrange(-50_000, 50_000))
        for _ in range(2):
            assert domain.now >= last
            last = domain.now
            assert guest_time(domain) == last
            domain.fire()


def test_an_error_is_worked_off_without_a_step(domain: StillDomain) -> None:
    for _ in range(3):
        domain.advance(SECOND)
        domain.fire()
    error = domain.now
    domain.drift(50_000)
    error = domain.now - error
    assert error == 50_000
    origin = None
    for _ in range(60):
        before = domain.now
        domain.advance(SECOND)
        gained = domain.now - before - SECOND
        assert abs(gained) <= 60_000, "no faster than the drift and its correction"
        domain.fire()
        origin = before if origin is None else origin
    assert origin is not None
    assert abs(domain.now - origin - 60 * SECOND + error) < 5_000


def test_time_after_the_host_slept_steps_forward(domain: StillDomain) -> None:
    domain.advance(SECOND)
    domain.fire()
    before = domain.now
    domain.drift(-10 * SECOND)  # the TSC stood still for 10 s that the host's clock counted
    domain.advance(10 * SECOND)
    domain.fire()
    assert domain.now >= before
    domain.advance(SECOND)
    domain.fire()
    assert abs(domain.now - before - 11 * SECOND) < 10 * MS


def test_warping_jumps_time_and_tsc_together() -> None:
    domain = StillDomain(warped=True)
    domain.advance(SECOND)
    domain.fire()
    tsc, now = domain.tsc, domain.now
    domain.warp_to(now + 60 * SECOND)
    assert domain.now == now + 60 * SECOND
    assert guest_time(domain) == domain.now
    assert abs(domain.tsc - tsc - 120 * SECOND) < 100_000, "at 2 GHz"
    domain.warp_to(now)
    assert domain.now == now + 60 * SECOND, "never backwards"


def test_time_goes_on_after_a_warp_at_the_hosts_pace() -> None:
    domain = StillDomain(warped=True)
    for _ in range(100):
        domain.warp_to(domain.now + 7 * SECOND)
        before = domain.now
        domain.advance(SECOND)
        domain.fire()
        assert abs(domain.now - before - SECOND) < 20_000
        assert guest_time(domain) == domain.now


def test_the_wallclock_is_the_time_of_day_at_system_time_0(domain: StillDomain) -> None:
    version, seconds, ns, high = struct.unpack_from("=4I", domain.shared_info, 32 * 64 + 1024)
    assert version % 2 == 0
    assert (seconds, ns, high) == (1_700_000_000, 123_456_789, 0)
