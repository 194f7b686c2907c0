"""What a crashed domain leaves for the log."""

from xenia.testing.still_vcpu import KERNEL, USER, StillVcpu


def crashed() -> list[str]:
    vcpu = StillVcpu()
    vcpu["rax"], vcpu["rip"], vcpu["rsp"] = 0x1234, KERNEL + 0x1000, KERNEL + 0x10000 - 24
    vcpu.write(KERNEL + 0x1000, b"\x0f\x0b\x90")
    vcpu.write(KERNEL + 0x10000 - 24, bytes(range(24)))
    vcpu.inject(14, 2, USER + 0x123)
    return vcpu.crash_report()


def test_the_report_says_why_and_where() -> None:
    report = crashed()
    assert report[0] == "Domain 1 crashed: a trap or callback for which the guest has no handler"
    assert f"rip e033:{KERNEL + 0x1000:016x}" in report[1]
    assert report[1].endswith("kernel mode")
    assert any("rax 0000000000001234" in line for line in report)


def test_the_report_shows_code_and_stack_as_far_as_they_are_mapped() -> None:
    report = crashed()
    code = next(line for line in report if line.startswith("code "))
    assert " <0f 0b 90 00" in code
    stack = [line for line in report if line.startswith("stack ")]
    assert stack == ["stack 0706050403020100 0f0e0d0c0b0a0908 1716151413121110"]


def test_the_report_walks_the_page_tables_of_rip_and_cr2() -> None:
    report = crashed()
    start = report.index(f"page tables of rip {KERNEL + 0x1000:016x}:")
    assert [line.split("[")[0].strip() for line in report[start + 1 : start + 5]] == ["L4", "L3", "L2", "L1"]
    assert f"page tables of cr2 {USER + 0x123:016x}:" in report


def test_the_report_survives_addresses_that_lead_nowhere() -> None:
    vcpu = StillVcpu()
    vcpu["rip"], vcpu["rsp"] = 0xFFFF800000000000, 0xDEAD00000000
    vcpu.inject(8)
    report = vcpu.crash_report()
    assert report[0] == "Domain 1 crashed: double fault"
    assert "stack: nothing is mapped at 0000dead00000000" in report
