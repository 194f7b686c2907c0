"""Linux's own torture of locks and RCU on a stock kernel with two vcpus:

python -m bench.torture [SECONDS [VCPUS [ENGINE]]]

Debian's kernels are built without these modules, so they are built here, from Debian's source of the kernel against the
headers of the very kernel that runs: locktorture for each kind of lock that is exported, rcutorture for each flavour of
RCU, SECONDS (60) of each of the two.  The first call fetches 155 MB.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import peers
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import PackageClient

SOURCES = ("kernel/torture.c", "kernel/locking/locktorture.c", "kernel/rcu/rcutorture.c", "kernel/rcu/rcu.h")
MAKEFILE = """
obj-m := torture.o rcutorture.o locktorture.o
ccflags-y := -I$(src) -include $(src)/ours.h
"""
# The kernel exports one function only where the module is its own.
OURS = """
#define CONFIG_TORTURE_TEST_MODULE 1
#define CONFIG_LOCK_TORTURE_TEST_MODULE 1
#define CONFIG_RCU_TORTURE_TEST_MODULE 1
#include <linux/sched.h>
static inline long set_own_affinity(pid_t pid, const struct cpumask *cpus)
{
    return set_cpus_allowed_ptr(current, cpus);
}
#define rcutorture_sched_setaffinity set_own_affinity
"""
LOCKS = ("spin_lock", "spin_lock_irq", "rw_lock", "rw_lock_irq", "mutex_lock", "rtmutex_lock", "rwsem_lock")
FLAVOURS = ("rcu", "srcu", "srcud", "tasks", "tasks-rude")
SCRIPT = """
insmod /torture.ko; echo 7 > /proc/sys/kernel/printk
for kind in {locks}; do
    insmod /locktorture.ko torture_type=$kind stat_interval=0 stutter=0 onoff_interval=0 shuffle_interval=1
    sleep {lock_seconds}; rmmod locktorture
done
for kind in {flavours}; do
    insmod /rcutorture.ko torture_type=$kind stat_interval=0 fwd_progress=0 onoff_interval={onoff} onoff_holdoff=1 \\
        test_boost=0 stutter=0
    sleep {rcu_seconds}; rmmod rcutorture
done
dmesg | grep -E "torture:--- End of test|(Writes|Reads ): " |
    sed 's/\\(End of test: [A-Z_]*\\).*/\\1/; s/^/told: /' | cut -c 1-120
dmesg | grep -E "BUG|WARNING|Oops|Bad page|general protection|self-detected|detected stalls|!!!" | sed 's/^/wrong: /'
echo finished
"""


def modules(release: str) -> dict[str, bytes]:
    """The modules, by name, built once.  Missing where they cannot be."""
    from xenia.errors import ConfigError

    cache = Cache()
    recipe = hashlib.sha256((MAKEFILE + OURS).encode()).hexdigest()[:16]
    target = cache.path("peers", f"torture-{release}-{recipe}")
    if not target.exists():
        try:
            with tempfile.TemporaryDirectory() as directory, cache.new_directory(target) as new:
                for module in _build(release, Path(directory), PackageClient(cache)):
                    (new / module.name).write_bytes(module.read_bytes())
        except (ConfigError, subprocess.CalledProcessError) as error:
            raise peers.Missing(f"the modules cannot be built: {error}") from None
    return {path.name: path.read_bytes() for path in target.glob("*.ko")}


def _build(release: str, directory: Path, client: PackageClient) -> Sequence[Path]:
    version = release.split("-")[0].rsplit(".", 1)[0]
    flavour = release.split("-", 2)[-1]
    common = f"linux-headers-{release.removesuffix(flavour)}common"
    for name in (f"linux-headers-{release}", common, f"linux-kbuild-{version}", f"linux-source-{version}"):
        package = client.download(client.find([name]), directory)
        subprocess.run(["dpkg-deb", "-x", str(package), str(directory)], check=True)
        package.unlink()
    source = directory / "torture"
    (source / "rcu").mkdir(parents=True)
    with tarfile.open(directory / f"usr/src/linux-source-{version}.tar.xz") as tape:
        left = set(SOURCES)
        for member in tape:
            name = member.name.partition("/")[2]
            if name in left and (contents := tape.extractfile(member)) is not None:
                data = contents.read()
                places = (source, source / "rcu") if name.endswith("rcu.h") else (source,)
                for place in places:
                    (place / Path(name).name).write_bytes(data)
                left.remove(name)
            if not left:
                break
    (source / "Makefile").write_text(MAKEFILE)
    (source / "ours.h").write_text(OURS)
    headers = directory / "usr/src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{directory}/usr/src/"))
    command = ["make", "-s", "-C", str(headers), f"M={source}", "modules"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise peers.Missing(f"the modules cannot be built:\n{built.stdout[-2000:]}{built.stderr[-2000:]}")
    return sorted(source.glob("*.ko"))


def torture(
    seconds: float, vcpus: int = 2, engine: str = "emulated", *, onoff: int = 50
) -> tuple[list[str], list[str]]:
    """What the modules said at their ends, and what anybody found wrong."""
    from tests.guests.stock import Stock
    from xenia.testing.guests import Debian

    files = {f"/{name}": data for name, data in modules(Debian().kernel().release).items()}
    script = SCRIPT.format(
        locks=" ".join(LOCKS), flavours=" ".join(FLAVOURS), onoff=onoff,
        lock_seconds=seconds / len(LOCKS), rcu_seconds=seconds / len(FLAVOURS),
    )  # fmt: skip
    guest = Stock(script, files=files, vcpus=vcpus, engine=engine, append="quiet log_buf_len=4M").start()
    report = guest.finish(2 * seconds + 120)
    said = re.findall(r"^told: (.*)$", report.console, re.MULTILINE)
    wrong = re.findall(r"^wrong: (.*)$", report.console, re.MULTILINE) + report.audit
    wrong += [line for line in said if "End of test" in line and not line.endswith("SUCCESS")]
    if "finished" not in report.console:
        wrong.append(report.console[-2000:])
    return said, wrong


def main() -> int:
    given = sys.argv[1:]
    seconds, vcpus, engine = [*given, *("60", "2", "emulated")[len(given) :]]
    try:
        said, wrong = torture(float(seconds), int(vcpus), engine)
    except peers.Missing as missing:
        print(missing)
        return 1
    print(*said, *(f"WRONG: {line}" for line in wrong), sep="\n")
    return 1 if wrong or not said else 0


if __name__ == "__main__":
    sys.exit(main())
