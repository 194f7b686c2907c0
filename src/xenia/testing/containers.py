"""Container images made to measure, in the forms in which docker, podman and skopeo save them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zstandard


def file(path: str, data: bytes = b"", mode: int = 0o644, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file of a layer; `fields` are those of TarInfo."""
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(data), mode
    for name, value in fields.items():
        setattr(member, name, value)
    return member, data


def folder(path: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """A directory."""
    return file(path, mode=mode, type=tarfile.DIRTYPE)


def symlink(path: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return file(path, type=tarfile.SYMTYPE, linkname=target)


def link(path: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """Another name of a file."""
    return file(path, type=tarfile.LNKTYPE, linkname=target)


def sparse(path: str, size: int, parts: Mapping[int, bytes], **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file with holes, as GNU's tar packs it: `parts` are what is in it and where, in whole blocks."""
    entries = [*((offset, len(data)) for offset, data in parts.items()), (size, 0)]
    head = f"{len(entries)}\n" + "".join(f"{offset}\n{length}\n" for offset, length in entries)
    said = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": path, "GNU.sparse.realsize": str(size),
    }  # fmt: skip
    data = head.encode() + b"\0" * (-len(head) % tarfile.BLOCKSIZE) + b"".join(parts.values())
    return file("GNUSparseFile.0/packed", data, pax_headers=said, **fields)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A layer with these files, in their order."""
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return tape.getvalue()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of regular files."""
    return layer(*(file(path, data) for path, data in files.items()))


def configuration(layers: Sequence[bytes], **said: Any) -> bytes:
    """The configuration of an image with these layers, in which `said` is what it says of its command."""
    digests = [digest(one) for one in layers]
    return json.dumps({
        "os": "linux", "architecture": "amd64", "config": said, "rootfs": {"type": "layers", "diff_ids": digests},
    }).encode()  # fmt: skip


def docker_archive(layers: Sequence[bytes], tag: str = "made:1", config: bytes | None = None) -> dict[str, bytes]:
    """The files of a docker-archive."""
    config = configuration(layers) if config is None else config
    names = [f"{number}/layer.tar" for number, _ in enumerate(layers)]
    config_name = f"{digest(config)[7:]}.json"
    manifest = {"Config": config_name, "RepoTags": [tag], "Layers": names}
    return {
        config_name: config, **dict(zip(names, layers, strict=True)),
        "manifest.json": json.dumps([manifest]).encode(),
    }  # fmt: skip


def oci_layout(
    layers: Sequence[bytes], packing: str = "gzip", tag: str = "1", config: bytes | None = None
) -> dict[str, bytes]:
    """The files of an OCI layout, whose layers are packed: gzip, zstd or "" (not at all)."""
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress, "": bytes}
    blobs = [packers[packing](one) for one in layers]
    config = configuration(layers) if config is None else config
    manifest = json.dumps({
        "schemaVersion": 2, "config": {"digest": digest(config)}, "layers": [{"digest": digest(one)} for one in blobs],
    }).encode()  # fmt: skip
    index = {
        "schemaVersion": 2,
        "manifests": [
            {"digest": digest(manifest), "annotations": {"org.opencontainers.image.ref.name": tag}},
            {"digest": digest(b"arm"), "platform": {"os": "linux", "architecture": "arm64"}},
        ],
    }
    files = {f"blobs/sha256/{digest(one)[7:]}": one for one in (*blobs, config, manifest)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **files}


def digest(data: bytes) -> str:
    """SHA-256 as images write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
