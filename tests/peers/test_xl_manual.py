"""xl(1), as Debian packages it: each verb and each option of it is Xenia's too, or is told as one that is not there."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from tests.peers.packaged import member
from xenia.cli.parser import build_parser

pytestmark = pytest.mark.peer

XL = Path(__file__).parents[2] / "docs/xl.md"
# Of verbs that an operator of Xen has, those that name what a machine of Xenia's has none of: docs/xl.md says so.
_FOREIGN = re.compile(
    r"button-press|migrate|remus|restore|save|sharing|vncviewer|debug-keys|set-parameters|sched-(credit$|rtds)"
    r"|cpupool-(?!list)|(channel|vtpm|vdispl|vsnd|vkb|pci|usb|usbctrl|usbdev|tmem|psr)-|qemu-monitor-command|(get|set)enforce|loadpolicy"
)
_OPTION = re.compile(r"^--?[A-Za-z][-a-z_]*")


def manual(text: str) -> dict[str, set[str]]:
    """By verb its options, each spelling by itself: items of the outermost lists are verbs, those within are theirs."""
    verbs: dict[str, set[str]] = {}
    depth, verb, commands = 0, "", False
    for line in re.sub(r"\\f[A-Z]|\\s-?\d", "", text.replace(r"\-", "-")).splitlines():
        if line.startswith(".SH"):
            commands = "COMMANDS" in line
        depth += line.startswith(".RS") - line.startswith(".RE")
        if not commands or not (item := re.match(r'\.IP "(.*)" 4', line)):
            continue
        if depth == 0:
            verb = item[1].split()[0]
            verbs[verb] = set()
        elif item[1].startswith("-"):
            verbs[verb] |= {found[0] for word in re.split(r"[ ,|]+", item[1]) if (found := _OPTION.match(word))}
    return verbs


def test_each_verb_of_xl_and_each_option_of_it_is_there_or_told_not_to_be(tmp_path: Path) -> None:
    page = member("xen-utils-common", r"/man1/xl\.1\.gz$", tmp_path)
    verbs = manual(gzip.decompress(page.read_bytes()).decode())
    assert {"create", "list", "sched-credit2", "block-detach", "cd-eject"} <= verbs.keys()
    assert verbs["shutdown"] == {"-a", "--all", "-w", "--wait", "-F"}
    ours = build_parser()._subparsers
    assert ours is not None
    [choices] = [action.choices for action in ours._group_actions]
    assert isinstance(choices, dict)
    known = {verb: set(parser._option_string_actions) for verb, parser in choices.items()}
    missing = {verb: options - known.get(verb, set()) for verb, options in verbs.items() if not _FOREIGN.match(verb)}
    told = XL.read_text().partition("Not there:")[2].partition("\n\n")[0]
    assert {verb for verb in missing if verb not in known} == set()
    assert {verb: sorted(options) for verb, options in missing.items() if options} == {}
    for word in ("save", "restore", "migrate", "remus", "cpupools", "PCI", "USB", "VNC", "psr", "FLASK", "debug-keys"):
        assert word in told
