"""LUKS2 headers: where an encrypted disk's data and keys are.

The format is that of cryptsetup's on-disk specification, LUKS2. Two copies of a binary header and a JSON text, then the
keyslots: the volume key, spread over many sectors and encrypted with a key made from a passphrase.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
import sys
import uuid
from dataclasses import dataclass
from typing import Any

from xenia.errors import ConfigError
from xenia.storage.cipher import XtsCipher, need_cryptography
from xenia.storage.layer import Layer

MAGIC_1, MAGIC_2 = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
_BINARY = struct.Struct(">6sHQQ48s32s64s40s48sQ184s64s7x")  # followed by zeroes up to 4096 bytes
_BINARY_SIZE = 4096
_CHECKSUM_AT = 0x1C0

HEADER_SIZE = 16 << 10  # of one copy, as we make them
DATA_OFFSET = 16 << 20
STRIPES = 4000
KEY_SIZE = 64
ENCRYPTION = "aes-xts-plain64"
MAX_HEADER_SIZE = 4 << 20
MOST_SLOTS = 32  # as in cryptsetup; of keyslots, and of digests
MOST_MEMORY = 4 << 20  # KiB
# What unlocking may cost altogether: iterations of PBKDF2, or passes of argon2id over so many KiB, all of which take
# about a microsecond each. cryptsetup makes headers that take two seconds.
MOST_WORK = 100_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """How much work it is to try a passphrase, and then whether the key is right.  `memory` is in KiB; 0 stands for
    PBKDF2."""

    iterations: int = 4
    memory: int = 256 << 10
    lanes: int = 2
    digest: int = 100_000


@dataclass(frozen=True, slots=True)
class Luks:
    """An unlocked disk: where its data is, and the key."""

    offset: int
    length: int | None  # None: to the end
    sector_size: int
    tweak: int  # the number of the first sector, in units of 512 bytes
    key: bytes


def format_luks(lower: Layer, passphrase: bytes, sector_size: int = 4096, cost: Cost | None = None) -> None:
    """Make `lower` a LUKS2 disk with a new key, which the passphrase unlocks."""
    need_cryptography()
    cost = cost or Cost()
    key = os.urandom(KEY_SIZE)
    area = -(-KEY_SIZE * STRIPES // 4096) * 4096
    keyslot: dict[str, Any] = {
        "type": "luks2",
        "key_size": KEY_SIZE,
        "af": {"type": "luks1", "stripes": STRIPES, "hash": "sha256"},
        "area": {"type": "raw", "offset": str(2 * HEADER_SIZE), "size": str(area), "encryption": ENCRYPTION,
                 "key_size": KEY_SIZE},
        "kdf": _new_kdf(cost),
    }  # fmt: skip
    salt = os.urandom(32)
    digest = hashlib.pbkdf2_hmac("sha256", key, salt, cost.digest, 32)
    metadata = {
        "keyslots": {"0": keyslot},
        "tokens": {},
        "segments": {
            "0": {"type": "crypt", "offset": str(DATA_OFFSET), "size": "dynamic", "iv_tweak": "0",
                  "encryption": ENCRYPTION, "sector_size": sector_size}
        },
        "digests": {
            "0": {"type": "pbkdf2", "keyslots": ["0"], "segments": ["0"], "salt": _text(salt), "digest": _text(digest),
                  "hash": "sha256", "iterations": cost.digest}
        },
        "config": {"json_size": str(HEADER_SIZE - _BINARY_SIZE), "keyslots_size": str(DATA_OFFSET - 2 * HEADER_SIZE)},
    }  # fmt: skip
    slot_key = _derive(keyslot["kdf"], passphrase, KEY_SIZE)
    material = XtsCipher(slot_key).encrypt(_split(key, STRIPES, "sha256"), 0)
    lower.pwrite(material + os.urandom(area - len(material)), 2 * HEADER_SIZE)
    lower.flush()
    identity = str(uuid.uuid4()).encode()
    text = json.dumps(metadata, separators=(",", ":")).encode()
    for copy, magic in enumerate((MAGIC_1, MAGIC_2)):
        lower.pwrite(pack(magic, copy * HEADER_SIZE, identity, text), copy * HEADER_SIZE)
        lower.flush()


def unlock(lower: Layer, passphrase: bytes, what: str) -> Luks:
    """Find the header and the key.  ConfigError, which calls the disk `what`, where either cannot be had."""
    need_cryptography()
    metadata = read_metadata(lower, what)
    try:
        segment = _segment(metadata, what)
        found = Luks(
            int(segment["offset"]),
            None if segment["size"] == "dynamic" else int(segment["size"]),
            int(segment["sector_size"]),
            int(segment["iv_tweak"]),
            _Unlocking(lower, metadata, passphrase, what).key(),
        )
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError):
        raise ConfigError(f"{what} is damaged: its LUKS2 header makes no sense") from None
    except MemoryError:
        raise ConfigError(f"trying the key of {what} takes more memory than this host gives") from None
    if (
        found.sector_size not in (512, 1024, 2048, 4096) or found.offset % 4096 or not 0 < found.offset <= lower.size
        or not 0 <= found.tweak < 1 << 54 or (found.length is not None and found.length <= 0)
    ):  # fmt: skip
        raise ConfigError(f"{what} is damaged: its LUKS2 header makes no sense")
    return found


def _segment(metadata: dict[str, Any], what: str) -> dict[str, Any]:
    """The one segment of the disk, which is encrypted in a way that is known here."""
    wanted = metadata.get("config", {}).get("requirements", {}).get("mandatory", [])
    if wanted:
        raise ConfigError(f"{what} needs what is not supported: {', '.join(map(str, wanted))}")
    segments = metadata["segments"]
    if list(segments) != ["0"]:
        raise ConfigError(f"{what} is not one encrypted segment, as it should be (is its encryption being changed?)")
    segment: dict[str, Any] = segments["0"]
    if segment["type"] != "crypt":
        raise ConfigError(f"{what} has a segment of the type {segment['type']}; crypt can be used")
    if "integrity" in segment:
        kind = segment["integrity"].get("type", "of some kind")
        raise ConfigError(f"{what} is guarded by integrity data ({kind}), which is not supported")
    if segment["encryption"] != ENCRYPTION:
        raise ConfigError(f"{what} is encrypted with {segment['encryption']}; {ENCRYPTION} can be used")
    return segment


def read_metadata(lower: Layer, what: str) -> dict[str, Any]:
    """The newer of the two good copies of the JSON text."""
    best: tuple[int, dict[str, Any]] | None = None
    offsets = [0, *(1 << shift for shift in range(14, 23))]
    for offset in offsets:
        found = _read_copy(lower, offset, MAGIC_2 if offset else MAGIC_1)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    if best is None:
        start = bytes(lower.pread(0, min(8, lower.size) // lower.block_size.minimum * lower.block_size.minimum or 0))
        if start[:8] == MAGIC_1 + b"\0\1":
            raise ConfigError(f"{what} has a header of LUKS1; convert it: cryptsetup convert --type luks2")
        if start[:6] == MAGIC_1 and lower.size >= _BINARY_SIZE:
            algorithm = _BINARY.unpack_from(lower.pread(0, _BINARY_SIZE))[5].rstrip(b"\0").decode("ascii", "replace")
            if not _is_hash(algorithm):
                raise ConfigError(f"{what} has a header whose checksum is {algorithm}, which is not supported")
        raise ConfigError(f"{what} has no LUKS2 header that can be read")
    return best[1]


def _read_copy(lower: Layer, offset: int, magic: bytes) -> tuple[int, dict[str, Any]] | None:
    if offset + _BINARY_SIZE > lower.size:
        return None
    binary = bytes(lower.pread(offset, _BINARY_SIZE))
    found, version, size, sequence, _, algorithm, _, _, _, own_offset, _, checksum = _BINARY.unpack_from(binary)
    if found != magic or version != 2 or own_offset != offset:
        return None
    digest = algorithm.rstrip(b"\0").decode("ascii", "replace")
    if not _is_hash(digest):
        return None
    if not _BINARY_SIZE < size <= MAX_HEADER_SIZE or size % 4096 or offset + size > lower.size:
        return None
    area = bytes(lower.pread(offset + _BINARY_SIZE, size - _BINARY_SIZE))
    expected = _checksum(binary, area, digest)
    if checksum[: len(expected)] != expected:
        return None
    try:
        metadata = json.loads(area.split(b"\0", 1)[0])
    except (ValueError, RecursionError):
        return None
    return (sequence, metadata) if isinstance(metadata, dict) else None


def pack(magic: bytes, offset: int, identity: bytes, text: bytes) -> bytes:
    """One copy of a header, with the right checksum."""
    area = text + bytes(HEADER_SIZE - _BINARY_SIZE - len(text))
    fields = (magic, 2, HEADER_SIZE, 1, b"", b"sha256", os.urandom(64), identity, b"", offset, b"")
    binary = _BINARY.pack(*fields, b"").ljust(_BINARY_SIZE, b"\0")
    return _BINARY.pack(*fields, _checksum(binary, area)).ljust(_BINARY_SIZE, b"\0") + area


def _checksum(binary: bytes, area: bytes, digest: str = "sha256") -> bytes:
    """The digest of a copy in which the checksum itself is zeroes."""
    return hashlib.new(digest, binary[:_CHECKSUM_AT] + bytes(64) + binary[_CHECKSUM_AT + 64 :] + area).digest()


def _is_hash(name: str) -> bool:
    """Whether there is such a hash here, of a fixed size."""
    try:
        return hashlib.new(name).digest_size > 0
    except (ValueError, TypeError):
        return False


class _Unlocking:
    """The search for a keyslot that a passphrase opens.  The work that it takes is bounded."""

    def __init__(self, lower: Layer, metadata: dict[str, Any], passphrase: bytes, what: str) -> None:
        self._lower = lower
        self._metadata = metadata
        self._passphrase = passphrase
        self._what = what
        self._work = 0
        self._unsupported: list[str] = []  # what keyslots and digests use that cannot be used here

    def key(self) -> bytes:
        """The volume key.  ConfigError where no keyslot gives it."""
        slots, digests = self._metadata["keyslots"], self._metadata["digests"]
        if len(slots) > MOST_SLOTS or len(digests) > MOST_SLOTS:
            raise ConfigError(f"{self._what} is damaged: a LUKS2 header has at most {MOST_SLOTS} keyslots")
        for number, slot in sorted(slots.items(), key=lambda item: int(item[0])):
            key = self._open(slot)
            if key is not None and self._is_right(number, key):
                return key
        if self._unsupported:
            raise ConfigError(
                f"no keyslot of {self._what} opens with this key, and not all could be tried: "
                f"{', '.join(dict.fromkeys(self._unsupported))} cannot be used here"
            )
        raise ConfigError(f"no keyslot of {self._what} opens with this key")

    def _open(self, slot: dict[str, Any]) -> bytes | None:
        """The key that a keyslot gives, right or wrong; None where it cannot be tried."""
        if slot["type"] != "luks2":
            self._unsupported.append(f"a keyslot of the type {slot['type']}")
            return None
        area, spread, kdf = slot["area"], slot["af"], slot["kdf"]
        names = [spread["hash"], *([kdf["hash"]] if kdf["type"] == "pbkdf2" else [])]
        lacking = [f"the hash {name}" for name in names if not _is_hash(name)]
        if area["type"] != "raw" or spread["type"] != "luks1":
            lacking.append(f"a key area of the types {area['type']} and {spread['type']}")
        if area["encryption"] != ENCRYPTION:
            lacking.append(f"the cipher {area['encryption']}")
        if kdf["type"] not in ("pbkdf2", "argon2id"):
            lacking.append(f"{kdf['type']} as the maker of keys")
        self._unsupported += lacking
        length, stripes = int(slot["key_size"]), int(spread["stripes"])
        offset, size = int(area["offset"]), int(area["size"])
        fits = offset >= 0 and length * stripes <= size and offset + size <= self._lower.size
        if lacking or not (0 < length <= 512 and 0 < stripes <= 1 << 16 and fits):
            return None
        slot_key = self._derive(kdf, int(area["key_size"]))
        whole = -(-length * stripes // 4096) * 4096
        material = XtsCipher(slot_key).decrypt(self._lower.pread(offset, whole), 0)
        return _merge(bytes(material[: length * stripes]), length, spread["hash"])

    def _is_right(self, keyslot: str, key: bytes) -> bool:
        """Whether a digest that covers the data and the keyslot is the key's."""
        for digest in self._metadata["digests"].values():
            if digest["type"] != "pbkdf2" or keyslot not in digest["keyslots"] or "0" not in digest["segments"]:
                continue
            if not _is_hash(digest["hash"]):
                self._unsupported.append(f"the hash {digest['hash']}")
                continue
            expected = base64.b64decode(digest["digest"])
            iterations = int(digest["iterations"])
            self._spend(iterations, f"{iterations} iterations of PBKDF2")
            found = hashlib.pbkdf2_hmac(
                digest["hash"], key, base64.b64decode(digest["salt"]), iterations, len(expected)
            )
            if hmac.compare_digest(found, expected):
                return True
        return False

    def _derive(self, kdf: dict[str, Any], length: int) -> bytes:
        if kdf["type"] == "pbkdf2":
            self._spend(int(kdf["iterations"]), f"{int(kdf['iterations'])} iterations of PBKDF2")
        else:
            passes, memory = int(kdf["time"]), int(kdf["memory"])
            if memory > MOST_MEMORY:
                raise ConfigError(f"trying the key of {self._what} would take {memory >> 20} GiB of memory")
            self._spend(passes * memory, f"{passes} passes of argon2id over {memory >> 10} MiB")
        return _derive(kdf, self._passphrase, length)

    def _spend(self, work: int, steps: str) -> None:
        if work <= 0:
            raise ValueError(work)
        self._work += work
        if self._work > MOST_WORK:
            raise ConfigError(
                f"trying the key of {self._what} would take {self._work // 60_000_000} minutes or more ({steps}): "
                "no honest header asks for that much"
            )


def _new_kdf(cost: Cost) -> dict[str, Any]:
    salt = _text(os.urandom(32))
    if not cost.memory:
        return {"type": "pbkdf2", "hash": "sha256", "iterations": cost.iterations, "salt": salt}
    return {"type": "argon2id", "time": cost.iterations, "memory": cost.memory, "cpus": cost.lanes, "salt": salt}


def _derive(kdf: dict[str, Any], passphrase: bytes, length: int) -> bytes:
    """The key that a passphrase gives."""
    salt = base64.b64decode(kdf["salt"])
    if kdf["type"] == "pbkdf2":
        return hashlib.pbkdf2_hmac(kdf["hash"], passphrase, salt, int(kdf["iterations"]), length)
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        return Argon2id(
            salt=salt,
            length=length,
            iterations=int(kdf["time"]),
            lanes=int(kdf["cpus"]),
            memory_cost=int(kdf["memory"]),
        ).derive(passphrase)
    except (ImportError, UnsupportedAlgorithm):
        command = f"{sys.executable} -m pip install 'cryptography>=44'"
        raise ConfigError(f"argon2id needs a newer Python package cryptography: {command}") from None


def _split(key: bytes, stripes: int, digest: str) -> bytes:
    """Spread a key, so that losing any part of the result loses the key (anti-forensic splitter)."""
    mixed = bytes(len(key))
    parts: list[bytes] = []
    for _ in range(stripes - 1):
        part = os.urandom(len(key))
        parts.append(part)
        mixed = _diffuse(_xor(mixed, part), digest)
    return b"".join(parts) + _xor(mixed, key)


def _merge(material: bytes, length: int, digest: str) -> bytes:
    """The key that was spread."""
    mixed = bytes(length)
    last = len(material) - length
    for at in range(0, last, length):
        mixed = _diffuse(_xor(mixed, material[at : at + length]), digest)
    return _xor(mixed, material[last:])


def _diffuse(data: bytes, digest: str) -> bytes:
    size = hashlib.new(digest).digest_size
    return b"".join(
        hashlib.new(digest, struct.pack(">I", number) + data[at : at + size]).digest()[: len(data) - at]
        for number, at in enumerate(range(0, len(data), size))
    )


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
