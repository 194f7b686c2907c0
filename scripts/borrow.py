"""Fetches distribution packages and unpacks them into a folder, without root, for what a host lacks to build Xenia.

    python3 scripts/borrow.py FOLDER PACKAGE...

Runs on the host's bare Python, before there is a virtual environment: nothing beyond the standard library.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import PackageClient


def main(folder: Path, names: list[str]) -> int:
    client = PackageClient(Cache())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for name in names:
                package = client.download(client.find([name]), Path(scratch))
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    except (ConfigError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
