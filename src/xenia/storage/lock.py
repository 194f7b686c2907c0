"""Who uses a file: one writer, or any number of readers, among Xenia's and QEMU's programs.

The locks are those of QEMU's block/file-posix.c, which belong to an open file description (F_OFD_SETLK). There is a
byte for each way to use a file, twice: whoever uses it so holds a read lock on the first byte, and whoever wants nobody
else to holds one on the second. One takes one's own locks first, and then looks for those that stand against them, so
of two who come at once at most one goes on. An exclusive lock of any other program's stands against all of them.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from pathlib import Path

from xenia.errors import ConfigError

USED, REFUSED = 100, 200  # where the bytes are
CONSISTENT_READ, WRITE, RESIZE = 0, 1, 3  # which of them; 2 is WRITE_UNCHANGED, which whoever writes may do

NO_LOCKS = "%s: its file system gives no locks (%s): see that nothing else writes to it"

_FLOCK = struct.Struct("hhqqi4x")
_log = logging.getLogger(__name__)


def lock(fd: int, path: Path, *, write: bool) -> None:
    """Say how an open file is used, until it is closed.  ConfigError where others stand against it.

    Where the file system has no locks, that is logged, and nothing keeps others away.
    """
    ours = (CONSISTENT_READ, WRITE, RESIZE) if write else (CONSISTENT_READ,)
    unwanted = (CONSISTENT_READ, WRITE, RESIZE) if write else (WRITE, RESIZE)
    try:
        for byte in [USED + use for use in ours] + [REFUSED + use for use in unwanted]:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        taken = any(_is_held(fd, byte) for byte in [REFUSED + use for use in ours] + [USED + use for use in unwanted])
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            _log.warning(NO_LOCKS, path, error.strerror)
            return
        taken = True
    if taken:
        raise ConfigError(f"{path} is in use: another program has it open" + ("" if write else " for writing"))


def _is_held(fd: int, byte: int) -> bool:
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
