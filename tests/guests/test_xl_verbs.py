"""xl's verbs on domains of the daemon: what they change, what they print, how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.guests import test_daemon
from tests.guests.stock import skip_without
from tests.guests.test_daemon import create, listed, xenia
from tests.guests.test_run import LIMIT, XENIA, environment
from xenia.cli.main import command
from xenia.toolstack.provision.initramfs import FRONTENDS

pytestmark = pytest.mark.guest
home = test_daemon.home

NR_CPUS = len(os.sched_getaffinity(0))
ALL = "all" if NR_CPUS > 1 else "0"


def test_domains_share_the_processors_as_they_are_told(home: Path) -> None:
    create("web", "vcpus=2", "cpu_weight=512", "cap=50", "cpus='0'")
    create("db")
    pool, *rows = xenia("sched-credit2").stdout.splitlines()
    assert pool == "Cpupool Pool-0: ratelimit=1000us"
    assert rows == [
        "Name                                ID Weight  Cap",
        "web                                  1    512   50",
        "db                                   2    256    0",
    ]
    xenia("sched-credit2", "-d", "db", "-w", "1024", "-c", "25")
    assert xenia("sched-credit2", "-d", "db").stdout.splitlines() == [rows[0], f"{'db':<33}    2   1024   25"]
    assert json.loads(xenia("sched-credit2", "-d", "2", "--json").stdout) == [
        {"name": "db", "number": 2, "weight": 1024, "cap": 25}
    ]
    assert xenia("sched-credit2", "-s").stdout == pool + "\n"

    def affinity(name: str) -> list[str]:
        return [line.split("  ")[-1] for line in xenia("vcpu-list", name).stdout.splitlines()[1:]]

    assert affinity("web") == ["0 / all"] * 2
    xenia("vcpu-pin", "web", "1", "all", "0")
    assert affinity("web") == ["0 / all", "all / 0"]
    xenia("vcpu-pin", "web", "all", "-", "all")
    assert affinity("web") == ["0 / all", "all / all"]
    assert xenia("cpupool-list").stdout.splitlines() == [
        "Name               CPUs   Sched     Active   Domain count",
        f"Pool-0             {NR_CPUS:3}   credit2       y          2",
    ]
    assert "xen_scheduler          : credit2" in xenia("info").stdout
    for words, why in (
        (("vcpu-pin", "web", "x", "0"), "Invalid argument x as VCPU."),
        (("vcpu-pin", "web", "9" * 5000, "0"), f"Invalid argument {'9' * 5000} as VCPU."),
        (("vcpu-pin", "web", "9" * 11, "0"), f"guest 'web' (1): the domain has vcpus 0 to 1, and no vcpu {'9' * 11}"),
        (
            ("vcpu-pin", "web", "0", ""),
            f"guest 'web' (1): '' names no processor that is there: the machine has 0 to {NR_CPUS - 1}",
        ),
        (("vcpu-pin", "-f", "web", "all", "0"), "--force and 'all' as VCPU not allowed."),
        (("vcpu-pin", "web", "2", "0"), "guest 'web' (1): the domain has vcpus 0 to 1, and no vcpu 2"),
        (("vcpu-pin", "web", "0", "0;1"), "guest 'web' (1): Invalid cpu range: 0;1"),
        (("sched-credit2", "-w", "3"), "Must specify a domain."),
        (("sched-credit2", "-d", "web", "-p", "Pool-0"), "Specifying a cpupool is not allowed with other options."),
        (("sched-credit2", "-p", "Pool-1"), "unknown cpupool 'Pool-1'"),
        (("sched-credit2", "-d", "web", "-w", "0"), "guest 'web' (1): a weight is a number from 1 to 65535, not 0"),
    ):
        assert xenia(*words, status=1).stderr == f"xenia: {why}\n"
    refused = xenia("create", "name=far", "kernel=demo", "memory=16", "cpus='9999'", status=1)
    assert refused.stderr.startswith("xenia: '9999' names no processor that is there")
    assert sorted(listed()) == ["db", "web"]


def test_top_is_live_fits_its_terminal_and_ends_with_q(home: Path) -> None:
    create("web")
    terminal = pexpect.spawn(
        sys.executable, ["-m", "xenia", "top", "-d", "600"], env=environment(), encoding="utf-8", timeout=LIMIT,
        dimensions=(10, 60),
    )  # fmt: skip
    assert terminal.expect(["SSID", "web [a-z-]{6}"]) == 1  # there is no room for a line's end
    terminal.setwinsize(10, 200)
    terminal.expect("SSID")  # at once
    assert terminal.expect(["web [a-z-]{6}", "xentop -"]) == 0
    terminal.send("q")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    counted = pexpect.run(
        f"{sys.executable} -m xenia top -d 0.1 -i 3", env=environment(), timeout=int(LIMIT), withexitstatus=True
    )
    assert counted[1] == 0


def said(status: int, complaint: str) -> tuple[int, str]:
    return status, f"xenia: {complaint}\n" if complaint else ""


VAST = "9" * 5000
NOBODY = "nobody is an invalid domain identifier (rc=-6)"
ONE_DOMAIN = (
    "pause", "unpause", "destroy", "shutdown", "reboot", "console", "network-attach", "network-list",
    "block-attach a.img", "block-detach xvda", "block-resize xvda", "cd-insert xvda a.iso", "cd-eject xvda",
    "network-detach 0", "sysrq h", "trigger nmi", "rename other", "vcpu-pin 0 0", "vcpu-set 1", "mem-set 16",
    "mem-max 16", "dump-core core", "config-update a.cfg", "vcpu-list", "uptime", "list",
)  # fmt: skip
# What xl ends with, and says behind its own name.
ENDS = [
    *((verb.replace(" ", " nobody ", 1) if " " in verb else f"{verb} nobody", said(1, NOBODY)) for verb in ONE_DOMAIN),
    ("block-list nobody", said(0, NOBODY)),  # and goes on with the next
    ("domid nobody", said(1, "Can't get domid of domain name 'nobody', maybe this domain does not exist.")),
    ("domname 4321", said(1, "Can't get domain name of domain id '4321', maybe this domain does not exist.")),
    ("domname x", said(1, "Invalid domain id.")),
    (f"domname {VAST}", said(1, f"Can't get domain name of domain id '{VAST}', maybe this domain does not exist.")),
    ("dmesg nobody", said(1, "no guest 'nobody' is running (running: web)")),
    ("shutdown", said(1, "You must specify -a or a domain id.")),
    ("block-detach web xvdz", said(1, "Device xvdz not connected.")),
    ("block-attach web nowhere.img", said(1, "cannot open {here}/nowhere.img: No such file or directory")),
    ("network-detach web 7", said(1, "Unknown device 7.")),
    ("network-detach web 00:16:3e:00:00:07", said(1, "Unknown device 00:16:3e:00:00:07.")),
    ("cd-insert web xvdz nowhere.iso", said(1, "Cannot stat file: nowhere.iso")),
    ("cd-eject web xvdz", said(1, "Device xvdz not connected.")),
    ("cd-eject web xvda", said(1, "Device xvda is no CD drive.")),
    ("trigger web power", said(1, "a PV guest has nothing that could be told 'power' (xenia shutdown, reboot)")),
    ("sysrq web help", said(1, "Invalid sysrq: 'help' is no letter")),
    ("vcpu-set web 9", said(1, "guest 'web' (1): guest 'web' can have 1 to 1 vcpus, not 9")),
    ("config-update web", said(1, "no configuration file specified")),
    ("config-update web a.cfg b.cfg", said(1, "one configuration file at a time: a.cfg is given, and b.cfg too")),
    ("create", said(1, "no configuration file specified")),
    ("create /dev/zero", said(1, "Failed to read config file: /dev/zero: it has no end within 1048576 characters")),
    ("create -f a.cfg b.cfg", said(1, "one configuration file at a time: a.cfg is given, and b.cfg too")),
    (
        "network-attach web bridge=nowhere",
        said(1, "no network 'nowhere' is running (none is running: xenia net create nowhere)"),
    ),
    ("create name=web kernel=demo memory=16", said(1, "a domain with name 'web' already exists")),
    ("list web", said(0, "")),
    ("list 0", said(0, "")),
    ("uptime Domain-0 web", said(0, "")),
    ("vcpu-list web", said(0, "")),
    ("block-list web", said(0, "")),
    ("network-list web", said(0, "")),
    ("vm-list", said(0, "")),
    ("list -v -Z -c -n", said(0, "")),
    ("claims", said(0, "")),
    ("info", said(0, "")),
    ("info -n", said(0, "")),
    ("-v info", said(0, "")),
    ("help --long", said(0, "")),
    ("create -V name=seen", said(1, "a domain has no screen that a VNC viewer could show: -c attaches to its console")),
    ("-N create name=unmade memory=16", said(0, "")),
    ("domid unmade", said(1, "Can't get domid of domain name 'unmade', maybe this domain does not exist.")),
    ("pause web", said(0, "")),
    ("pause web", said(0, "")),  # again changes nothing
    ("unpause web", said(0, "")),
    ("unpause web", said(0, "")),
    ("sched-credit2", said(0, "")),
]


def test_verbs_end_and_complain_as_xls_do(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk.img").write_bytes(bytes(1 << 20))
    create("web", f"disk=['{tmp_path}/disk.img,raw,xvda,rw']")
    wrong = []
    for words, (status, complaint) in ENDS:
        ended = command(words.split())
        heard = capsys.readouterr().err
        if ended != status or heard != complaint.format(here=tmp_path):
            wrong.append((words, ended, heard))
    assert not wrong
    with pytest.raises(SystemExit, match="2"):  # as xl does where words are missing
        command(["dump-core", "web"])


def test_create_in_the_foreground_stays_until_the_domain_has_ended(home: Path) -> None:
    with subprocess.Popen([*XENIA, "create", "-F", "name=web", "kernel=demo", "memory=16"], env=environment()) as xl:
        while "web" not in listed():
            assert xl.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            xl.wait(0.5)
        xenia("destroy", "web")
        assert xl.wait(LIMIT) == 0


def test_a_stock_guest_has_disks_discs_and_cards_plugged_in_and_out(home: Path, tmp_path: Path) -> None:
    skip_without("amd64", FRONTENDS)
    for name in ("one", "two", "data"):
        (tmp_path / name).write_bytes(name.encode().ljust(1 << 20, b"."))
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "xenia", "create", "-c", "name=web", "memory=128", f"disk=['{tmp_path}/one,raw,xvdc:cdrom,r']"],
        env=environment(), encoding="utf-8", timeout=LIMIT, dimensions=(30, 120),
    )  # fmt: skip

    def has(disk: str, begins: str) -> None:
        terminal.send(f"until [ -b /dev/{disk} ]; do :; done; head -c 3 /dev/{disk}; echo '<'end\r")
        terminal.expect(begins + "<end")

    terminal.expect("/ # ")
    has("xvdc", "one")
    xenia("cd-insert", "web", "xvdc", str(tmp_path / "two"))
    has("xvdc", "two")
    xenia("cd-eject", "web", "xvdc")
    has("xvdc", "")
    xenia("cd-insert", "1", "51744", str(tmp_path / "one"))
    has("xvdc", "one")
    assert xenia("block-attach", "web", f"{tmp_path}/data,raw", "xvdb,rw").stdout == "xvdb\n"
    has("xvdb", "dat")
    head, *rows = xenia("block-list", "web").stdout.splitlines()
    assert head.split() == ["Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"]
    assert {row[:17] for row in rows} == {"51744 0   1      ", "51728 0   1      "}
    for vdev, backend, handle, state, channel, ring, path in (row.split() for row in rows):
        assert (backend, handle, state) == ("0", "1", "4") and int(channel) > 0 and int(ring) >= 0
        assert path == f"/local/domain/0/backend/vbd/1/{vdev}"
    xenia("block-detach", "web", "51728")
    assert len(xenia("block-list", "web").stdout.splitlines()) == 2
    xenia("network-attach", "web", "null", "mac=00:16:3e:00:00:07")
    terminal.send("until [ -e /sys/class/net/eth0 ]; do :; done; echo '<'there\r")
    terminal.expect("<there")
    head, row = xenia("network-list", "web").stdout.splitlines()
    assert head.startswith("Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path")
    index, backend, mac, handle, *_, path = row.replace("/", " ", 1).split()
    assert (index, backend, mac, handle) == ("0", "0", "00:16:3e:00:00:07", "0")
    assert path == "/local/domain/0/backend/vif/1/0"
    xenia("network-detach", "web", "00:16:3e:00:00:07")
    assert len(xenia("network-list", "web").stdout.splitlines()) == 1
    terminal.close(force=True)
