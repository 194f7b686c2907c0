"""What others may ask of a guest that runs, over its control socket: each verb with its arguments, at both ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from xenia.errors import ConfigError
from xenia.storage.door import handed
from xenia.toolstack.config.disk import DiskConfig, parse_disk
from xenia.toolstack.control.control import Handler, ask, ask_all
from xenia.toolstack.guest.guest import AttachDisk, DetachDisk, Guest, ResizeDisk

T = TypeVar("T")

PATIENCE = 10.0  # seconds for a guest to let go of a disk
_MARGIN = 10.0  # and for the answer to come


def verbs(guest: Guest) -> Mapping[str, Handler]:
    """What `guest` can be asked."""

    def statistics(_: Mapping[str, Any]) -> object:
        domain = guest.domain
        if domain is None or domain.destroyed:
            raise ConfigError("it has no domain just now")
        return domain.statistics

    def dmesg(_: Mapping[str, Any]) -> object:
        if guest.machine is None:
            raise ConfigError("it has no machine yet")
        return {"name": guest.config.name, "lines": guest.machine.dmesg}

    def attach(request: Mapping[str, Any]) -> object:
        try:
            disk = DiskConfig(**_argument(request, "disk", dict))
        except TypeError:
            raise ConfigError("the request describes no disk") from None
        names, descriptors = request.get("opened", []), request.get("descriptors", [])
        if (
            not isinstance(names, list)
            or len(names) != len(descriptors)
            or not all(isinstance(name, str) for name in names)
        ):
            raise ConfigError("the request has not a name for each descriptor")
        opened = list(zip(names, descriptors, strict=True))
        descriptors.clear()  # they are the disk's now
        with handed(opened):
            return guest.do(AttachDisk(disk))

    def detach(request: Mapping[str, Any]) -> object:
        return guest.do(DetachDisk(_argument(request, "name", str), PATIENCE, _argument(request, "force", bool)))

    def resize(request: Mapping[str, Any]) -> object:
        size = None if request.get("size") is None else _argument(request, "size", int)
        return guest.do(ResizeDisk(_argument(request, "name", str), size, request.get("shrink") is True))

    return {
        "statistics": statistics,
        "dmesg": dmesg,
        "block-attach": attach,
        "block-detach": detach,
        "block-resize": resize,
    }


def _argument(request: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = request.get(name)
    if not isinstance(value, kind):
        raise ConfigError(f"the request has no '{name}' that is {kind.__name__}")
    return value


def statistics(guest: str | None = None) -> list[dict[str, Any]]:
    """What guests that run have done: Domain.statistics of each that answers, and `pid`.

    ConfigError when `guest` does not run.
    """
    return ask_all("statistics", guest).answers


def attach_disk(guest: str, disk: str) -> str:
    """Plug a disk, in the words of --disk, into a guest that runs; the disk's name there.  ConfigError."""
    config = parse_disk(disk)
    config = config.within(Path.cwd())
    with config.opened() as files:
        names, descriptors = [name for name, _ in files], [descriptor for _, descriptor in files]
        request = {"disk": config.as_dict(), "opened": names}
        return str(ask(guest, "block-attach", patience=_MARGIN, descriptors=descriptors, **request))


def detach_disk(guest: str, name: str, force: bool = False) -> None:
    """Take a disk away once the guest has let go of it, or with `force` even if it does not.  ConfigError."""
    ask(guest, "block-detach", patience=PATIENCE + _MARGIN, name=name, force=force)


def resize_disk(guest: str, name: str, size: int | None = None, shrink: bool = False) -> int:
    """Give a disk `size` bytes, or as many as what is behind it has by now; how many those are.  ConfigError.

    shrink   it may become smaller, which loses what is behind its new end
    """
    return int(ask(guest, "block-resize", patience=_MARGIN, name=name, size=size, shrink=shrink))
