"""The guests that are shipped inside the package: `ilwaco`, built from guests/ with the package."""

from pathlib import Path


def embedded() -> Path | None:
    """The kernel that `xenia run` boots when there is no other, or None where it could not be built."""
    kernel = Path(__file__).with_name("ilwaco")
    return kernel if kernel.exists() else None
