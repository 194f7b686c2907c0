"""How an operator writes a firewall: rules, the first that matches decides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from xenia.errors import ConfigError

PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58, "sctp": 132}
ANY = -1
ARP = 256  # beside IP's protocols
WITH_PORTS = (6, 17)
MOST_RULES = 256
_MAC = re.compile("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_PARTS = re.compile(r"(?:\[[^]]*\]|[^\s:\[])+")


@dataclass(frozen=True, slots=True)
class Rule:
    """Of frames that go `direction` (in: to the guest; out: from it; any), those that are all of this are allowed.

    Or denied.  `source` and `destination` are IP prefixes or MACs; ports the first and the last.
    """

    direction: str
    allow: bool
    protocol: int = ANY
    ports: tuple[int, int] | None = None
    source_ports: tuple[int, int] | None = None
    source: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """All of a firewall.  What no rule matches is allowed.

    stateful    answers to what was allowed are allowed
    """

    rules: tuple[Rule, ...]
    stateful: bool = True


def parse_rules(lines: Iterable[str]) -> Rules:
    """Each a rule such as `in:allow:tcp:22` or `out deny to=10.0.0.0/8`; or `stateless`.  ConfigError."""
    rules: list[Rule] = []
    stateful = True
    for line in lines:
        text = line.split("#")[0].strip()
        if text == "stateless":
            stateful = False
        elif text:
            rules.append(parse_rule(text))
    if len(rules) > MOST_RULES:
        raise ConfigError(f"a firewall has {MOST_RULES} rules at the most, not {len(rules)}")
    return Rules(tuple(rules), stateful)


def parse_rule(text: str) -> Rule:
    """DIRECTION:ACTION[:PROTOCOL[:PORTS]][:from=..][:to=..][:sport=..].  ConfigError."""
    direction, action, *rest = [*_PARTS.findall(text), "", ""]
    rest = rest[:-2]
    if "[" in _PARTS.sub("", text):
        raise _wrong(text, "a bracket in it is not closed")
    if direction not in ("in", "out", "any") or action not in ("allow", "deny"):
        raise _wrong(text, "it begins with in, out or any, and allow or deny: in:allow:tcp:22")
    protocol, ports = ANY, None
    named: dict[str, str] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if equals:
            if name not in ("from", "to", "sport") or name in named:
                raise _wrong(text, f"'{part}' is not one of from=, to= and sport=, each once")
            named[name] = value
        elif protocol == ANY and not named:
            protocol = _protocol(text, part)
        elif ports is None and not named:
            ports = _ports(text, part)
        elif named:
            raise _wrong(text, f"'{part}' has no place there; IPv6 addresses and MACs stand in brackets")
        else:
            raise _wrong(text, f"'{part}' has no place there")
    source_ports = _ports(text, named["sport"]) if "sport" in named else None
    if (ports or source_ports) and protocol not in WITH_PORTS:
        raise _wrong(text, "only tcp and udp have ports")
    ends = [_end(text, named[name]) if name in named else None for name in ("from", "to")]
    if len({":" in end for end in ends if end and not _MAC.fullmatch(end)}) > 1:
        raise _wrong(text, "no packet is from IPv4 to IPv6")
    return Rule(direction, action == "allow", protocol, ports, source_ports, *ends)


def _wrong(text: str, why: str) -> ConfigError:
    return ConfigError(f"the firewall's rule '{text}' is wrong: {why}")


def _protocol(text: str, part: str) -> int:
    if part == "arp":
        return ARP
    if part in PROTOCOLS:
        return PROTOCOLS[part]
    if part.isdecimal() and len(part) < 4 and int(part) < 256:
        return int(part)
    raise _wrong(text, f"'{part}' is no protocol; {', '.join(PROTOCOLS)}, arp and numbers below 256 are")


def _ports(text: str, part: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last <= 65535:
        raise _wrong(text, f"'{part}' is no port, nor a range such as 8000-8080")
    return first, last


def _end(text: str, part: str) -> str:
    plain = part[1:-1] if part.startswith("[") and part.endswith("]") else part
    if _MAC.fullmatch(plain):
        return plain.lower()
    try:
        return str(ip_network(plain, strict=False))
    except ValueError:
        raise _wrong(text, f"'{part}' is no address, prefix or MAC; IPv6 and MACs stand in brackets") from None
