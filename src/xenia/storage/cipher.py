"""AES-XTS for disks: sectors in, sectors out."""

from __future__ import annotations

import importlib.util
import sys

from xenia.errors import ConfigError
from xenia.storage.buffers import Buffer
from xenia.storage.xts import sector_numbers, whiten

KEY_SIZES = (32, 64)  # bytes: AES-128 and AES-256, two keys each


class XtsCipher:
    """AES-XTS with the plain64 tweak: the number of the sector in units of 512 bytes, whatever the sector's size.

    Any number of threads may use one at once.
    """

    def __init__(self, key: bytes, sector_size: int = 512) -> None:
        need_cryptography()
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if len(key) not in KEY_SIZES or key[: len(key) // 2] == key[len(key) // 2 :]:
            raise ConfigError("a key for AES-XTS has 32 or 64 bytes, and two different halves")
        self.sector_size = sector_size
        half = len(key) // 2
        self._data = Cipher(algorithms.AES(key[:half]), modes.ECB())
        self._tweak = Cipher(algorithms.AES(key[half:]), modes.ECB())

    def encrypt(self, data: Buffer, offset: int) -> bytearray:
        """Whole sectors that begin at `offset` bytes of what is encrypted."""
        return self._crypt(data, offset, encrypt=True)

    def decrypt(self, data: Buffer, offset: int) -> bytearray:
        """The other way."""
        return self._crypt(data, offset, encrypt=False)

    def _crypt(self, data: Buffer, offset: int, encrypt: bool) -> bytearray:
        sectors = len(data) // self.sector_size
        numbers = bytearray(16 * sectors)
        sector_numbers(numbers, offset // 512, self.sector_size // 512)
        tweaks = self._tweak.encryptor().update(numbers)
        whitened = bytearray(len(data))
        whiten(whitened, data, tweaks, self.sector_size)
        context = self._data.encryptor() if encrypt else self._data.decryptor()
        out = bytearray(len(data) + 15)  # as `update_into` wants it
        context.update_into(whitened, out)
        del out[len(data) :]
        whiten(out, out, tweaks, self.sector_size)
        return out


def need_cryptography() -> None:
    """ConfigError where the package that has the ciphers is not installed."""
    if importlib.util.find_spec("cryptography") is None:
        raise ConfigError(
            f"encryption needs the Python package cryptography: {sys.executable} -m pip install cryptography"
        )
