"""public/xen.h: numbers of domains that name none."""

from __future__ import annotations

from typing import Final

DOMID_FIRST_RESERVED: Final = 0x7FF0  # numbers from here on name no real domain
DOMID_SELF: Final = 0x7FF0  # whoever asks
