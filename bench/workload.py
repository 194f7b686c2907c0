"""The Linux that the comparisons boot: one kernel, one initramfs, one small piece of work, the same for everyone."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import peers

DONE = "bench done"
INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
i=0
while [ $i -lt 60 ]; do /bin/busybox true; i=$((i+1)); done
/bin/busybox dd if=/dev/zero bs=64k count=128 2>/dev/null | /bin/busybox md5sum
[ -x /bin/micro ] && /bin/micro
/bin/busybox echo {DONE}
exec /bin/busybox poweroff -f
"""
INTERACTIVE = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox echo bench done
exec /bin/busybox sh
"""


@dataclass(frozen=True)
class Workload:
    """Files to boot.  `kernel` is a bzImage."""

    kernel: Path
    initrd: Path

    def unpacked(self) -> Path:
        """The kernel out of the bzImage, beside the initrd."""
        from xenia.domain.build.bzimage import load_image

        target = self.initrd.with_name("vmlinux")
        if not target.exists():
            target.write_bytes(load_image(self.kernel))
        return target


def workload(
    directory: Path, *, kernel: Path | None, busybox: Path | None, micro: bool = False, init: str = INIT
) -> Workload:
    """Make the initramfs in `directory`; what is not given is Debian's, by way of Xenia's cache."""
    from xenia.testing.guests import Debian

    debian = Debian()
    files = {"bin/": b"", "dev/": b"", "proc/": b"", "init": init.encode()}
    files["bin/busybox"] = busybox.read_bytes() if busybox is not None else debian.busybox
    if micro:
        files["bin/micro"] = static_program("micro")
    initrd = directory / "initrd"
    initrd.write_bytes(peers.archive(files))
    return Workload(kernel or debian.kernel().image, initrd)


def static_program(name: str) -> bytes:
    """bench/NAME.c, built as a static program."""
    from guests import build as guests

    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / name
        source = Path(__file__).with_name(f"{name}.c")
        try:
            subprocess.run([guests.compiler(), "-O2", "-static", "-s", "-o", str(target), str(source)], check=True)
        except guests.NoCompiler as error:
            raise peers.Missing(str(error)) from None
        except subprocess.CalledProcessError:
            raise peers.Missing(f"no static C library to build {source.name} with (Debian package libc6-dev)") from None
        return target.read_bytes()
