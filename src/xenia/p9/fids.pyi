"""The numbers by which a client names files.

A fid is a number that the client chose; it stands for a file that the server holds, perhaps opened.  What is held, is a
descriptor: whatever becomes of the names above, it is still that file, and nothing is looked up again by a path that
somebody could have changed.  Fids of one file that came by cloning share it.

Several threads work for one client.  A fid that is in use outlives its number; what it holds never changes but once,
from not open to open, and stays until the last user is gone.
"""

class Fids:
    """Those of one client, at most so many."""
    def __init__(self, most: int) -> None: ...
    def __len__(self) -> int: ...
