"""Where a system's apt finds packages: where the host's does, by the same proxy.

What is written is what the host's apt is configured to: no address of an archive is known here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from xenia.toolstack.provision.packages import Source

HOST = "host.xenia.internal"  # what guests call this host
_ORIGINS = ("Debian", "Ubuntu")
_REACHED = ("http", "https", "ftp")
_PORTS = {"http": 80, "https": 443, "socks5h": 1080}
APT_PROXIES = ("Acquire::http::Proxy", "Acquire::https::Proxy")
_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Repositories:
    """Files by path, and the ports of the host's own that guests have to reach for them to do what they say."""

    files: Mapping[str, bytes]
    host_ports: tuple[int, ...]


def repositories(
    sources: Iterable[Source], settings: Mapping[str, str], environment: Mapping[str, str], mirror: str | None = None
) -> Repositories:
    """What a system is told.

    sources     of the host's apt
    settings    of APT_PROXIES, those that it is configured to
    environment this process's
    mirror      take packages from there instead
    """
    ports: set[int] = set()
    files = {}
    lines = _lines(sources, mirror, ports)
    if lines:
        files["etc/apt/sources.list"] = "".join(f"{line}\n" for line in lines)
    proxies = {
        name: environment.get(name) or environment.get(name.upper(), "") for name in _VARIABLES if name != "no_proxy"
    }
    proxies = {name: _reached(url, ports) for name, url in proxies.items() if url}
    if proxies:
        excepted = environment.get("no_proxy") or environment.get("NO_PROXY")
        said = proxies | ({"no_proxy": excepted} if excepted else {})
        files["etc/environment"] = "".join(f'{name}="{value}"\n' for name, value in said.items() if _is_plain(value))
    apt = {name: _reached(settings[name], ports) for name in APT_PROXIES if name in settings}
    for name, variable in zip(APT_PROXIES, _VARIABLES, strict=False):
        if name not in apt and variable in proxies:
            apt[name] = proxies[variable]
    if apt:
        files["etc/apt/apt.conf.d/30proxy"] = "".join(
            f'{name} "{value}";\n' for name, value in apt.items() if _is_plain(value)
        )
    return Repositories({path: text.encode() for path, text in files.items()}, tuple(sorted(ports)))


def _lines(sources: Iterable[Source], mirror: str | None, ports: set[int]) -> list[str]:
    """The lines of a sources.list."""
    own = [source for source in sources if _is_own(source)]
    components: dict[tuple[str, str], list[str]] = {}
    if mirror is not None:
        suites = {source.suite: None for source in own if "security" not in source.suite}
        components = {(_reached(mirror, ports), suite): ["main"] for suite in suites or {_codename() or "stable": None}}
    else:
        for source in own:
            listed = components.setdefault((_reached(source.uri.rstrip("/"), ports), source.suite), [])
            if source.component not in listed:
                listed.append(source.component)
    return [f"deb {uri} {suite} {' '.join(listed)}" for (uri, suite), listed in components.items()]


def _is_own(source: Source) -> bool:
    """Whether it is the distribution's, can be reached from elsewhere, and has no password in it."""
    parts = urlsplit(source.uri)
    own = source.origin in _ORIGINS or (not source.origin and source.suite.startswith(_codename() or "?"))
    return own and parts.scheme in _REACHED and "@" not in parts.netloc


def _codename() -> str:
    """What this host's release is called."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def _reached(url: str, ports: set[int]) -> str:
    """The same address as a guest says it: what is on the host's own loopback is on `HOST` there, at a port that has to
    be given to guests."""
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        name, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    except ValueError:
        return url
    if not _is_loopback(name):
        return url
    ports.add(port)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{HOST}:{port}").geturl()


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_plain(value: str) -> bool:
    return value.isprintable() and '"' not in value and "\\" not in value
