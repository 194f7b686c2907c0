"""The numbers by which a client names files.

A fid is a number that the client chose; it stands for a file that the server holds, perhaps opened.  What is held, is a
descriptor: whatever becomes of the names above, it is still that file, and nothing is looked up again by a path that
somebody could have changed.  Fids of one file that came by cloning share it.

Clients hold more files than a process may have descriptors: Linux keeps one for each name that it remembers.  So
those that nobody uses just now, and that were not opened, may be closed, and are found again by their name in the
folder where they were: if that is another file by then, the fid is as good as none.

Several threads work for one client.  A fid that is in use outlives its number; what it holds never changes but once,
from not open to open, and stays until the last user is gone.
"""

class Fids:
    """Those of one client.

    most    at most so many, and of files and the folders above them together twice as many
    open    how many descriptors they take, besides those of opened files
    opened  how many of these there may be
    """
    def __init__(self, most: int, open: int, opened: int) -> None: ...
    def __len__(self) -> int: ...
