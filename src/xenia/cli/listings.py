"""xl's verbs that only look: list, vm-list, vcpu-list, uptime, domid, domname, info.  Columns are those of xl."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xenia.cli.devices import card_lines
from xenia.cli.domains import find_domain
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json, printable
from xenia.cli.sched import POOL
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.control.client import NoSuchGuest, ask_daemon
from xenia.toolstack.service import listing, place
from xenia.toolstack.service.facts import facts, nr_cpus

_REASONS = "-rscwS"
_HOST = ("0", "Domain-0")  # as xl calls it

Options = argparse.Namespace
Summary = Mapping[str, Any]


def show_list(options: Options, voice: Voice) -> int:
    """`list`."""
    if (killed := place.killed()) is not None:
        voice.warn(str(killed))
    rows = _wanted(options.domain)
    if options.long:
        print(json.dumps(listing.configurations(rows), indent=4))
    elif options.json:
        print(json.dumps([row.as_dict() for row in rows], indent=2))
    else:
        shown = rows if options.domain else [listing.domain0(), *rows]
        columns = {name: getattr(options, name) for name in ("verbose", "context", "cpupool", "numa")}
        _print(list_lines((_with_pool(row) for row in shown), **columns))
    return ExitStatus.OK


def _with_pool(row: listing.Row) -> Summary:
    """A guest of `xenia run` shares its processors with nobody."""
    return {**row.summary, "pool": POOL if row.place.domid is not None else None}


def show_claims(options: Options, _: Voice) -> int:
    """`claims`: memory that was reserved for a domain before it was built.  Here both are one step."""
    rows = [listing.domain0(), *_wanted([])]
    if options.json:
        print(json.dumps([{**row.as_dict(), "claimed": listing.CLAIMED} for row in rows], indent=2))
    else:
        _print(list_lines((row.summary for row in rows), claimed=True))
    return ExitStatus.OK


def show_vm_list(options: Options, _: Voice) -> int:
    """`vm-list`."""
    rows = listing.rows()
    if options.json:
        print(json.dumps([row.as_dict() for row in rows], indent=2))
        return ExitStatus.OK
    print("UUID                                  ID    name")
    for row in rows:
        print(f"{row.summary['uuid']}  {row.summary['number']}    {printable(row.summary['name']):<30}")
    return ExitStatus.OK


def show_vcpu_list(options: Options, _: Voice) -> int:
    """`vcpu-list`."""
    rows = _wanted(options.domain)
    if options.json:
        print(json.dumps([{**row.as_dict(), "vcpu_list": row.summary["vcpu_list"]} for row in rows], indent=2))
    else:
        _print(vcpu_lines(row.summary for row in rows))
    return ExitStatus.OK


def show_uptime(options: Options, _: Voice) -> int:
    """`uptime`."""
    rows = _wanted(options.domain)
    if options.json:
        print(json.dumps([{key: row.summary[key] for key in ("name", "number", "uptime")} for row in rows], indent=2))
        return ExitStatus.OK
    shown = [row.summary for row in (rows if options.domain else [listing.domain0(), *rows])]
    _print(uptime_lines(shown, time.strftime("%H:%M:%S"), short=options.short))
    return ExitStatus.OK


def show_domid(options: Options, _: Voice) -> int:
    """`domid`."""
    for row in [listing.domain0(), *listing.rows()]:
        if row.summary["name"] == options.domain:
            return _told(row, "number", as_json=options.json)
    raise ConfigError(f"Can't get domid of domain name '{options.domain}', maybe this domain does not exist.")


def show_domname(options: Options, _: Voice) -> int:
    """`domname`."""
    if not options.domid.isdecimal():
        raise ConfigError("Invalid domain id.")
    for row in [listing.domain0(), *listing.rows()]:
        if str(row.summary["number"]) == (options.domid.lstrip("0") or "0"):
            return _told(row, "name", as_json=options.json)
    raise ConfigError(f"Can't get domain name of domain id '{options.domid}', maybe this domain does not exist.")


def _told(row: listing.Row, what: str, *, as_json: bool) -> int:
    if as_json:
        print_json({key: row.summary[key] for key in ("name", "number")}, indent=None)
    else:
        print(printable(str(row.summary[what])))
    return ExitStatus.OK


def show_info(options: Options, _: Voice) -> int:
    """`info`: the machine of the daemon, or what it would have."""
    from xenia.toolstack.service.start import default_memory

    try:
        about = ask_daemon("about")
    except NoSuchGuest:
        memory = default_memory()
        about = {"total_memory": memory, "free_memory": memory}
    said = facts(about["total_memory"], about["free_memory"])
    if options.json:
        print(json.dumps(said, indent=2))
    elif options.name is not None:
        for name, value in said.items():
            if name.startswith(options.name):
                print(value)
    else:
        for name, value in said.items():
            if name == "xen_major" and options.numa:
                _print(numa_lines(about["total_memory"], about["free_memory"], nr_cpus()))
            print(f"{name:<23}:{'' if name == 'virt_caps' else ' '}{value}")
    return ExitStatus.OK


def show_network_list(options: Options, voice: Voice) -> int:
    """`network-list`."""
    from xenia.toolstack.control.remote import cards

    asked = [cards(str(find_domain(name).number)) for name in options.domain]
    found = [card for one in asked for card in one.found]
    silent = [line for one in asked for line in one.silent]
    for line in silent:
        voice.warn(line)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _print(card_lines(found))
    return ExitStatus.OK


def numa_lines(total: int, free: int, nr: int) -> Iterable[str]:
    """What `info -n` adds: there is one node, with all processors, and no device of the host's."""
    yield f"{'cpu_topology':<23}:\ncpu:    core    socket     node"
    for cpu in range(nr):
        yield f"{cpu:3}:    {cpu:4}     {0:4}     {0:4}"
    yield "device topology        :\ndevice           node\nNo device topology data available"
    yield f"{'numa_info':<23}:\nnode:    memsize    memfree    distances"
    yield f"{0:4}:    {total >> 20:6}     {free >> 20:6}      10"


def list_lines(
    rows: Iterable[Summary], *, verbose: bool = False, context: bool = False, claimed: bool = False,
    cpupool: bool = False, numa: bool = False,
) -> Iterable[str]:  # fmt: skip
    """What `list` prints, and with `claimed` `claims`."""
    head = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    head += "   UUID                            Reason-Code\tSecurity Label" * verbose
    head += "   Security Label" * (context and not verbose)
    yield head + "  Claimed" * claimed + "         Cpupool" * cpupool + " NODE Affinity" * numa
    for row in rows:
        line = (
            f"{printable(row['name']):<40} {row['number']:5} {row['memory'] >> 20:5} {row['vcpus']:5}     "
            f"{state_letters(row)}  {row['cpu_time']:8.1f}"
        )
        if verbose:
            reason = row["shutdown"]
            line += f" {row['uuid']} {'-' if reason is None else format(reason, 'x'):>8}"
        line += f" {listing.CLAIMED >> 20:5}" * claimed
        line += f" {'-':>16}" * (verbose or context)
        line += f"{row['pool'] or '-':>16}" if cpupool else ""
        yield line + " all" * numa


def state_letters(row: Summary) -> str:
    """xl's six letters: running, blocked, paused, shut down, why it did, dying."""
    reason = row["shutdown"]
    why = "-" if reason is None else _REASONS[reason] if reason < len(_REASONS) else "?"
    flags = ((row["running"], "r"), (row["blocked"], "b"), (row["paused"], "p"), (reason is not None, "s"))
    return "".join(letter if is_so else "-" for is_so, letter in flags) + why + ("d" if row["dying"] else "-")


def vcpu_lines(rows: Iterable[Summary]) -> Iterable[str]:
    """What `vcpu-list` prints."""
    yield f"{'Name':<32} {'ID':>5} {'VCPU':>5} {'CPU':>5} {'State':>5} {'Time(s)':>9} Affinity (Hard / Soft)"
    for row in rows:
        for vcpu in row["vcpu_list"]:
            where = "    -   --p " if not vcpu["online"] else _where(vcpu)
            whose = f"{printable(row['name']):<32} {row['number']:5} {vcpu['number']:5}"
            yield f"{whose}{where}{vcpu['time']:9.1f}  {vcpu['hard']} / {vcpu['soft']}"


def _where(vcpu: Summary) -> str:
    cpu = "-" if vcpu["cpu"] is None else vcpu["cpu"]
    return f"{cpu:>5} {'r' if vcpu['running'] else '-':>3}{'b' if vcpu['blocked'] else '-'}- "


def uptime_lines(rows: Iterable[Summary], now: str, *, short: bool = False) -> Iterable[str]:
    """What `uptime` prints."""
    if not short:
        yield f"{'Name':<33} {'ID':>4} Uptime"
    for row in rows:
        name, number = printable(row["name"]), row["number"]
        if short:
            yield f" {now} up {_elapsed(row['uptime'], short=True)}, {name} ({number})"
        else:
            yield f"{name:<33} {number:4} {_elapsed(row['uptime'])}"


def _elapsed(seconds: float, *, short: bool = False) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    before = f"{days} day{'s' if days > 1 else ''}, " if days else ""
    return f"{before}{hour:2}:{minute:02}" + ("" if short else f":{second:02}")


def _wanted(names: Sequence[str]) -> list[listing.Row]:
    """The domains of these names or numbers; all where none are given."""
    wanted = [None if name in _HOST else find_domain(name) for name in names]
    rows = listing.rows()
    if not wanted:
        return rows
    found: list[listing.Row] = []
    for one in wanted:
        if one is None:
            found.append(listing.domain0())
        else:
            found += [row for row in rows if (row.place.path, row.place.number) == (one.path, one.number)]
    return found


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
