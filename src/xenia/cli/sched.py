"""`xenia vcpu-pin`, `sched-credit2` and `cpupool-list`: how domains share the processors.  The verbs are xl's."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xenia.cli.arguments import add_json, checked, number
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json, printable
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

POOL = "Pool-0"  # the only one
_RATELIMIT = 1000  # us that a vcpu runs before another takes its place: sched/credit

Options = argparse.Namespace


def add_sched(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verbs."""

    def add(name: str, what: str, description: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=what, description=description, allow_abbrev=False
        )
        return parser

    pin = add(
        "vcpu-pin", "say on which processors a domain's vcpus run",
        "Say on which processors a vcpu may run (hard affinity), and on which it had better (soft): 0-3,^1, or all, or "
        "- for as before.",
    )  # fmt: skip
    pin.add_argument("domain", metavar="DOMAIN", help="a domain's name or number")
    pin.add_argument("vcpu", metavar="VCPU", help="a vcpu's number, or all")
    pin.add_argument("hard", metavar="CPUS", help="where it may run")
    pin.add_argument("soft", metavar="SOFT", nargs="?", default="-", help="where it had better (default: as before)")
    pin.add_argument("-f", "--force", action="store_true", help="taken for xl's sake")
    share = add(
        "sched-credit2", "show and set how domains share the processors",
        "Show weights and caps of all domains, or of one; or set them.",
    )  # fmt: skip
    share.add_argument("-d", "--domain", metavar="DOMAIN", help="whose")
    share.add_argument("-w", "--weight", metavar="WEIGHT", type=checked(number), help="its weight: 1 to 65535")
    share.add_argument("-c", "--cap", metavar="CAP", type=checked(number), help="its cap: 100 is a processor, 0 no cap")
    share.add_argument("-p", "--cpupool", metavar="CPUPOOL", help=f"only of that pool: {POOL}, which all are in")
    share.add_argument("-s", "--schedparam", action="store_true", help="show the scheduler's own parameters")
    share.add_argument("-r", "--ratelimit_us", metavar="RLIMIT", type=checked(number), help=argparse.SUPPRESS)
    pools = add("cpupool-list", "list the pools of processors", "List the pools of processors: there is one.")
    pools.add_argument("pool", metavar="CPUPOOL", nargs="?", help=f"only that: {POOL}")
    pools.add_argument("-c", "--cpus", action="store_true", help="list its processors")
    for parser in (share, pools):
        add_json(parser)


def sched(options: Options, _: Voice) -> int:
    """Carry out one of the verbs."""
    _VERBS[options.verb](options)
    return ExitStatus.OK


def _pin(options: Options) -> None:
    from xenia.cli.domains import find_domain
    from xenia.toolstack.guest.sched_verbs import PinVcpu

    place = find_domain(options.domain)
    if options.force and options.vcpu == "all":
        raise ConfigError("--force and 'all' as VCPU not allowed.")
    verb = PinVcpu(None if options.vcpu == "all" else _vcpu(options.vcpu), options.hard, options.soft)
    place.ask(verb.word, **verb.request())


def _vcpu(text: str) -> int:
    try:
        return number(text)
    except ConfigError:
        raise ConfigError(f"Invalid argument {text} as VCPU.") from None


def _share(options: Options) -> None:
    from xenia.cli.domains import find_domain
    from xenia.toolstack.guest.sched_verbs import SetShare

    sets = options.weight is not None or options.cap is not None
    if options.cpupool is not None and (options.domain is not None or sets):
        raise ConfigError("Specifying a cpupool is not allowed with other options.")
    if options.domain is None and sets:
        raise ConfigError("Must specify a domain.")
    if options.ratelimit_us is not None:
        raise ConfigError(f"the rate limit is {_RATELIMIT} us for good")
    _check_pool(options.cpupool)
    pool = f"Cpupool {POOL}: ratelimit={_RATELIMIT}us"
    if options.schedparam:
        if options.json:
            print_json({"pool": POOL, "ratelimit_us": _RATELIMIT}, indent=None)
        else:
            print(pool)
    elif sets:
        place, verb = find_domain(options.domain), SetShare(options.weight, options.cap)
        place.ask(verb.word, **verb.request())
    else:
        number = None if options.domain is None else find_domain(options.domain).number
        rows = [row for row in _rows() if number in (None, row["number"])]
        if options.json:
            print_json([{key: row[key] for key in ("name", "number", "weight", "cap")} for row in rows])
            return
        for line in (*([pool] if number is None else []), *share_lines(rows)):
            print(line)


def share_lines(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """What `sched-credit2` prints of domains."""
    yield f"{'Name':<33} {'ID':>4} {'Weight':>6} {'Cap':>4}"
    for row in rows:
        yield f"{printable(row['name']):<33} {row['number']:4} {row['weight']:6} {row['cap']:4}"


def _pools(options: Options) -> None:
    from xenia.toolstack.service.facts import nr_cpus

    _check_pool(options.pool)
    nr = nr_cpus()
    if options.json:
        pool = {"name": POOL, "cpus": list(range(nr)), "sched": "credit2", "n_dom": len(_rows())}
        print_json([pool])
    elif options.cpus:
        print(f"{'Name':<19}CPU list\n{POOL:<19}{','.join(map(str, range(nr)))}")
    else:
        print(f"{'Name':<19}CPUs   Sched     Active   Domain count")
        print(f"{POOL:<19}{nr:3} {'credit2':>9}       y       {len(_rows()):4}")


def _check_pool(name: str | None) -> None:
    if name not in (None, POOL, "0"):
        raise ConfigError(f"unknown cpupool '{name}'")


def _rows() -> list[Mapping[str, Any]]:
    """Of the daemon's domains: those of `xenia run` share with nobody."""
    from xenia.toolstack.service import listing

    return [row.summary for row in listing.rows() if row.place.domid is not None]


_VERBS: dict[str, Callable[[Options], None]] = {
    "vcpu-pin": _pin, "sched-credit2": _share, "cpupool-list": _pools
}  # fmt: skip
