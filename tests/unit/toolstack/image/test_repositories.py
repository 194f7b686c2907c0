"""Where a system's apt finds packages, from what the host's is configured to."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xenia.toolstack.image.repositories import repositories
from xenia.toolstack.provision.packages import Source

SOURCES = [
    Source("http://archive.example/debian/", "bookworm", "main", "Debian"),
    Source("http://archive.example/debian/", "bookworm", "contrib", "Debian"),
    Source("http://archive.example/debian-security/", "bookworm-security", "main", "Debian"),
    Source("https://tools.example/linux/", "bookworm", "stable", "Docker"),
    Source("file:/srv/own/", "./", "", "Debian"),
    Source("http://me:secret@closed.example/debian/", "bookworm", "main", "Debian"),
]
LISTED = b"""\
deb http://archive.example/debian bookworm main contrib
deb http://archive.example/debian-security bookworm-security main
"""


def test_the_distributions_own_archives_are_taken_and_nothing_that_a_guest_cannot_reach_or_is_secret() -> None:
    found = repositories(SOURCES, {}, {})
    assert found.files == {"etc/apt/sources.list": LISTED} and found.host_ports == ()


def test_a_mirror_takes_their_place_with_their_suites() -> None:
    found = repositories(SOURCES, {}, {}, "http://mirror.example/debian")
    assert found.files["etc/apt/sources.list"] == b"deb http://mirror.example/debian bookworm main\n"


def test_without_sources_nothing_is_said() -> None:
    assert repositories([], {}, {}).files == {}


def test_proxies_are_passed_on_to_shells_and_to_apt() -> None:
    environment = {"http_proxy": "http://proxy.example:3128", "HTTPS_PROXY": "proxy.example:3129", "no_proxy": "a,b"}
    found = repositories([], {}, environment)
    assert found.files == {
        "etc/environment": b'http_proxy="http://proxy.example:3128"\nhttps_proxy="proxy.example:3129"\nno_proxy="a,b"\n',
        "etc/apt/apt.conf.d/30proxy": b'Acquire::http::Proxy "http://proxy.example:3128";\n'
        b'Acquire::https::Proxy "proxy.example:3129";\n',
    }
    assert found.host_ports == ()


def test_what_apt_alone_is_configured_to_is_apts_alone() -> None:
    found = repositories([], {"Acquire::http::Proxy": "http://cache.example:3142"}, {"http_proxy": "http://p.example"})
    assert found.files["etc/apt/apt.conf.d/30proxy"] == b'Acquire::http::Proxy "http://cache.example:3142";\n'
    assert found.files["etc/environment"] == b'http_proxy="http://p.example"\n'


def test_what_is_on_the_hosts_loopback_is_named_as_guests_name_it_and_its_ports_are_told() -> None:
    sources = [Source("http://localhost:9999/debian/", "trixie", "main", "Debian")]
    environment = {"http_proxy": "http://user:word@127.0.0.1:3128/", "https_proxy": "http://[::1]/"}
    found = repositories(sources, {}, environment)
    assert found.files["etc/apt/sources.list"] == b"deb http://host.xenia.internal:9999/debian trixie main\n"
    assert found.files["etc/environment"] == (
        b'http_proxy="http://user:word@host.xenia.internal:3128/"\nhttps_proxy="http://host.xenia.internal:80/"\n'
    )
    assert found.host_ports == (80, 3128, 9999)


def test_a_value_that_would_end_its_quotes_is_left_out() -> None:
    assert b"evil" not in b"".join(repositories([], {}, {"http_proxy": 'http://evil";Dir "/'}).files.values())


def own_address() -> str | None:
    """An address of this host that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get on this host")
def test_apt_asks_the_proxy_that_it_is_told_for_the_archive_that_it_is_told(tmp_path: Path) -> None:
    address, asked = own_address(), []
    if address is None:
        pytest.skip("this host has no address but its loopback")

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    for directory in ("state/lists/partial", "cache/archives/partial"):
        (tmp_path / directory).mkdir(parents=True)
    with ThreadingHTTPServer((address, 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        found = repositories(SOURCES[:1], {}, {"http_proxy": f"http://{address}:{proxy.server_port}"})
        for path, data in found.files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        settings = {
            "Dir::Etc": tmp_path / "etc/apt", "Dir::State": tmp_path / "state", "Dir::Cache": tmp_path / "cache",
            "Dir::Etc::parts": tmp_path / "etc/apt/apt.conf.d", "APT::Sandbox::User": "", "Acquire::Retries": 0,
        }  # fmt: skip
        configuration = tmp_path / "apt.conf"
        configuration.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
        updated = subprocess.run(
            ["apt-get", "update"], env={"APT_CONFIG": str(configuration), "PATH": "/usr/bin:/bin"}, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        proxy.shutdown()
    assert "http://archive.example/debian/dists/bookworm/InRelease" in asked, updated.stderr
