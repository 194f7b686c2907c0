"""How a guest sees a block device, whatever is behind it."""

from __future__ import annotations

from dataclasses import dataclass

from xenia.abi.blkif import BLKIF_SECTOR_SIZE
from xenia.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class VbdConfig:
    """What a block device is like.

    cdrom         a drive with a disc in it, which is read only
    sector_size   bytes of the guest's logical blocks, 512 to 4096 (ConfigError); at least those of a device of the
                  host that the disk is.  Where the layer's blocks are larger, parts of them are changed
    persistent    let the frontend copy through pages that stay granted, as feature-persistent offers.  None: no, but
                  for whoever knows better (a driver domain needs it)
    discard       offer discards, where the layer can do them
    """

    read_only: bool = False
    cdrom: bool = False
    sector_size: int = BLKIF_SECTOR_SIZE
    persistent: bool | None = None
    discard: bool = True

    def __post_init__(self) -> None:
        if self.sector_size not in (512, 1024, 2048, 4096):
            raise ConfigError(f"a sector has 512 or 4096 bytes, not {self.sector_size}")
