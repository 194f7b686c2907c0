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
import uuid
from dataclasses import dataclass
from typing import Any

from xenia.backends.storage.cipher import XtsCipher, need_cryptography
from xenia.backends.storage.layer import Layer
from xenia.errors import ConfigError

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
        lower.pwrite(_pack(magic, copy * HEADER_SIZE, identity, text), copy * HEADER_SIZE)
        lower.flush()


def unlock(lower: Layer, passphrase: bytes, what: str) -> Luks:
    """Find the header and the key.  ConfigError, which calls the disk `what`, where either cannot be had."""
    need_cryptography()
    metadata = read_metadata(lower, what)
    try:
        key = _unlock_keyslots(lower, metadata, passphrase)
        if key is None:
            raise ConfigError(f"no keyslot of {what} opens with this key")
        segments = metadata["segments"]
        if list(segments) != ["0"] or segments["0"]["type"] != "crypt" or "integrity" in segments["0"]:
            raise ConfigError(f"{what} is not one encrypted segment, as it should be")
        segment = segments["0"]
        if segment["encryption"] != ENCRYPTION:
            raise ConfigError(f"{what} is encrypted with {segment['encryption']}; {ENCRYPTION} can be used")
        found = Luks(
            int(segment["offset"]),
            None if segment["size"] == "dynamic" else int(segment["size"]),
            int(segment["sector_size"]),
            int(segment["iv_tweak"]),
            key,
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ConfigError(f"{what} is damaged: its LUKS2 header makes no sense") from None
    if found.sector_size not in (512, 1024, 2048, 4096) or found.offset % 4096 or not 0 < found.offset <= lower.size:
        raise ConfigError(f"{what} is damaged: its LUKS2 header makes no sense")
    return found


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
        raise ConfigError(f"{what} has no LUKS2 header that can be read")
    return best[1]


def _read_copy(lower: Layer, offset: int, magic: bytes) -> tuple[int, dict[str, Any]] | None:
    if offset + _BINARY_SIZE > lower.size:
        return None
    binary = bytes(lower.pread(offset, _BINARY_SIZE))
    found, version, size, sequence, _, algorithm, _, _, _, own_offset, _, checksum = _BINARY.unpack_from(binary)
    if found != magic or version != 2 or own_offset != offset or algorithm.rstrip(b"\0") != b"sha256":
        return None
    if not _BINARY_SIZE < size <= MAX_HEADER_SIZE or size % 4096 or offset + size > lower.size:
        return None
    area = bytes(lower.pread(offset + _BINARY_SIZE, size - _BINARY_SIZE))
    if checksum[:32] != _checksum(binary, area):
        return None
    try:
        metadata = json.loads(area.split(b"\0", 1)[0])
    except ValueError:
        return None
    return (sequence, metadata) if isinstance(metadata, dict) else None


def _pack(magic: bytes, offset: int, identity: bytes, text: bytes) -> bytes:
    area = text + bytes(HEADER_SIZE - _BINARY_SIZE - len(text))
    fields = (magic, 2, HEADER_SIZE, 1, b"", b"sha256", os.urandom(64), identity, b"", offset, b"")
    binary = _BINARY.pack(*fields, b"").ljust(_BINARY_SIZE, b"\0")
    return _BINARY.pack(*fields, _checksum(binary, area)).ljust(_BINARY_SIZE, b"\0") + area


def _checksum(binary: bytes, area: bytes) -> bytes:
    """SHA-256 of a copy in which the checksum itself is zeroes."""
    return hashlib.sha256(binary[:_CHECKSUM_AT] + bytes(64) + binary[_CHECKSUM_AT + 64 :] + area).digest()


def _unlock_keyslots(lower: Layer, metadata: dict[str, Any], passphrase: bytes) -> bytes | None:
    for number, slot in sorted(metadata["keyslots"].items(), key=lambda item: int(item[0])):
        area, spread = slot["area"], slot["af"]
        if slot["type"] != "luks2" or area["type"] != "raw" or area["encryption"] != ENCRYPTION:
            continue
        length, stripes = int(slot["key_size"]), int(spread["stripes"])
        offset, size = int(area["offset"]), int(area["size"])
        fits = length * stripes <= size and offset + size <= lower.size
        if not (0 < length <= 512 and 0 < stripes <= 1 << 16 and fits):
            continue
        slot_key = _derive(slot["kdf"], passphrase, int(area["key_size"]))
        whole = -(-length * stripes // 4096) * 4096
        material = XtsCipher(slot_key).decrypt(lower.pread(offset, whole), 0)
        key = _merge(bytes(material[: length * stripes]), length, spread["hash"])
        if _is_right(metadata, number, key):
            return key
    return None


def _is_right(metadata: dict[str, Any], keyslot: str, key: bytes) -> bool:
    """Whether a digest that covers the data and the keyslot is the key's."""
    for digest in metadata["digests"].values():
        if digest["type"] == "pbkdf2" and keyslot in digest["keyslots"] and "0" in digest["segments"]:
            expected = base64.b64decode(digest["digest"])
            found = hashlib.pbkdf2_hmac(
                digest["hash"], key, base64.b64decode(digest["salt"]), int(digest["iterations"]), len(expected)
            )
            if hmac.compare_digest(found, expected):
                return True
    return False


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
    if kdf["type"] != "argon2id":
        raise ConfigError(f"keys made with {kdf['type']} cannot be used; argon2id and pbkdf2 can")
    memory = int(kdf["memory"])
    if memory > 4 << 20:
        raise ConfigError(f"trying the key would take {memory >> 20} GiB of memory")
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        return Argon2id(
            salt=salt, length=length, iterations=int(kdf["time"]), lanes=int(kdf["cpus"]), memory_cost=memory
        ).derive(passphrase)
    except (ImportError, UnsupportedAlgorithm):
        raise ConfigError("argon2id needs the Python package cryptography, version 44 or newer") from None


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
