"""What holds in every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launchers import build_launcher
from tests.long import LONG
from xenia.machine.lock import check_lock_order, waits_with_the_interpreter, watch_locks

HERE = Path(__file__).parent
watch_locks(True)

# What takes half a minute and more, the longest first.  Where several processes share the tests file by file (./test)
# these come first, so that none is left alone with one of them at the end.
LONGEST = (
    *(
        HERE / "guests" / f"test_{name}.py"
        for name in (
            *("debian_root", "run", "networks", "net", "examples", "root", "parallel", "vif", "kernel_module"),
            *("suites", "vcpus", "shares", "background", "exec", "daemon", "gdb", "kernels", "net_filters"),
            *("vbd", "container_images", "driver_domain", "stock_kernels", "pytest_plugin"),
            *("file_systems", "native", "many_guests"),
        )
    ),
    *(HERE / "peers" / f"test_{name}.py" for name in ("net_qemu", "net_interfaces", "dmesg")),
    *(HERE / "unit" / name for name in ("jail/test_cards.py", "toolstack/machine/test_faults.py")),
    HERE / "test_wheel.py",
)
assert all(path.exists() for path in LONGEST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a long run does; for one of several processes, put what takes longest first."""
    if not LONG and (long := [item for item in items if item.get_closest_marker("long")]):
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    if "PYTEST_XDIST_WORKER" in os.environ:
        rank = {path: number for number, path in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True)
def no_lock_is_waited_for_with_the_interpreter() -> Iterator[None]:
    """Whatever a test does, no thread keeps all others from running Python while it waits for a lock of the core."""
    waits_with_the_interpreter(reset=True)
    yield
    assert waits_with_the_interpreter() == 0


@pytest.fixture(autouse=True)
def locks_are_taken_in_their_order() -> Iterator[None]:
    """Whatever a test does, no thread takes a lock under one that stands further down in the order of all locks."""
    yield
    check_lock_order()


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `xenia`."""
    return build_launcher(tmp_path_factory.mktemp("bin"))
