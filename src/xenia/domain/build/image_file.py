"""The files that an operator names: kernels and RAM disks."""

import os
from pathlib import Path
from stat import S_ISREG

from xenia.errors import ConfigError


def read_image(path: Path, most: int) -> bytes:
    """The bytes of a file or pipe; ConfigError where there are none, or more than `most` (a device may never end)."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if S_ISREG(status.st_mode) and status.st_size > most:
                raise _too_large(path, most)
            data = file.read() if S_ISREG(status.st_mode) else file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > most:
        raise _too_large(path, most)
    return data


def _too_large(path: Path, most: int) -> ConfigError:
    return ConfigError(f"{path}: larger than {most >> 20} MB")
