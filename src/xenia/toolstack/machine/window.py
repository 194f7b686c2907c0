"""The size of the window that shows a guest's console: a key of Xenia's own in xenstore, which its agent watches."""

from __future__ import annotations

from xenia.xenstore.client import Client, Keys
from xenia.xenstore.permissions import Access, Permissions


def tell_window_size(client: Client, domid: int, rows: int, columns: int) -> None:
    """Tell a domain the size of the window; nothing where it is destroyed."""
    console = f"/local/domain/{domid}/console"

    def write(keys: Keys) -> None:
        if keys.exists(console):
            keys.write(f"{console}/window-size", f"{rows} {columns}")
            keys.set_permissions(f"{console}/window-size", Permissions(0, Access.NONE, ((domid, Access.READ),)))

    client.atomically(write)
