"""Container images, as `docker save`, `podman save` and `skopeo copy` leave them: what is in an archive, and checked.

Two forms are read, each in a tar archive that may be packed, and the first also as a folder:

OCI layout      index.json names manifests by digest, in blobs/sha256 (image-spec, image-layout.md)
docker-archive  manifest.json names a configuration and layers by their paths in the archive

Newer dockers write both at once; the first is taken then, for it has the digests.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import posixpath
import re
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache, Progress
from xenia.toolstack.tar import DAMAGED_TAR, Header

MOST_JSON = 8 << 20  # bytes of a manifest or configuration
_MOST_JSON_IN_ALL = 8 * MOST_JSON
MOST_LAYERS = 512
_MOST_MEMBERS = 100_000  # of the archive around an image
_MOST_NESTED = 4  # indexes that name indexes
_CHUNK = 1 << 20
_WINDOW = 128 << 20  # bytes that what is packed may ask for
_PLATFORM = ("linux", "amd64")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
# What comes of reading archives that are none.
DAMAGED = (*DAMAGED_TAR, zlib.error, zstandard.ZstdError, gzip.BadGzipFile)


class _LayerHeader(Header):
    """It says a file's extended attributes, of which one alone may be Header's whole."""

    MOST_SAID = 1 << 20


def open_tar(file: IO[bytes]) -> tarfile.TarFile:
    """The archive in a file.  DAMAGED, then or later."""
    return tarfile.open(fileobj=file, mode="r:", tarinfo=_LayerHeader, encoding="utf-8", errors="surrogateescape")


@dataclass(frozen=True)
class Layer:
    """A layer: its name in the archive, and its digests as it is there ("" where nobody says), and unpacked."""

    name: str
    digest: str
    unpacked_digest: str


@dataclass(frozen=True)
class ContainerImage:
    """One image: what it is called ("" if nothing), its configuration (image-spec, config.md) and its layers, the
    lowest first."""

    name: str
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]


class Source(ABC):
    """Files by name.

    nr_said   bytes of manifests and configurations that were read of it
    """

    nr_said = 0

    @abstractmethod
    def open(self, name: str) -> IO[bytes] | None:
        """The file of that name; None where there is none."""


class _Folder(Source):
    """Whoever made it may have put names or links into it that lead to files of this user's: they are not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def open(self, name: str) -> IO[bytes] | None:
        path = self._folder / name
        try:
            if path.resolve() != path or not path.is_relative_to(self._folder):
                return None
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except (OSError, ValueError, RuntimeError):
            return None


class _Archive(Source):
    """Older dockers save a layer that is there already as a link to it."""

    def __init__(self, tar: tarfile.TarFile, path: Path) -> None:
        self._tar = tar
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            self._members[posixpath.normpath(member.name)] = member
            if len(self._members) > _MOST_MEMBERS:
                raise ConfigError(f"{path}: more than {_MOST_MEMBERS} files, which is no container image")

    def open(self, name: str) -> IO[bytes] | None:
        for _ in range(8):
            member = self._members.get(posixpath.normpath(name))
            if member is None or member.isreg():
                return self._tar.extractfile(member) if member is not None else None
            if member.issym():
                name = posixpath.join(posixpath.dirname(member.name), member.linkname)
            elif member.islnk():
                name = member.linkname
        return None


@contextmanager
def opened(path: Path, cache: Cache, progress: Progress, limit: int) -> Iterator[Source]:
    """What is in an archive or layout.  ConfigError where it is neither, or unpacks to more than `limit` bytes."""
    with ExitStack() as stack:
        yield _Folder(path) if path.is_dir() else _archive(path, cache, progress, limit, stack)


def _archive(path: Path, cache: Cache, progress: Progress, limit: int, stack: ExitStack) -> Source:
    try:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        if _packing(file):
            plain = stack.enter_context(cache.scratch_file())
            unpack(file, plain, limit, f"unpacking {path.name}", progress)
            file = plain
        return _Archive(stack.enter_context(open_tar(file)), path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except DAMAGED:
        raise ConfigError(f"{path}: neither an archive nor a layout of a container image") from None


@contextmanager
def unpacked_layers(
    image: ContainerImage, source: Source, where: str, limit: int, cache: Cache, progress: Progress
) -> Iterator[list[IO[bytes]]]:
    """The layers, unpacked into files without names.

    ConfigError where one is not what its digest says, or all together have more than `limit` bytes.
    """
    with ExitStack() as stack:
        files = []
        for number, layer in enumerate(image.layers, 1):
            what = f"{where}: layer {number}"
            packed = source.open(layer.name)
            if packed is None:
                raise ConfigError(f"{what} is not in it ({layer.name})")
            plain = stack.enter_context(cache.scratch_file())
            try:
                with packed:
                    _check(packed, layer.digest, what)
                    doing = f"unpacking layer {number} of {len(image.layers)}"
                    if unpack(packed, plain, limit, doing, progress) != layer.unpacked_digest:
                        raise ConfigError(f"{what}: damaged: it unpacks to something else than its digest says")
            except OSError as error:
                raise ConfigError(f"{what}: {error.strerror or 'damaged'}") from None
            except DAMAGED:
                raise ConfigError(f"{what}: damaged") from None
            limit -= os.fstat(plain.fileno()).st_size
            files.append(plain)
        yield files


def read_image(source: Source, where: str, name: str | None) -> ContainerImage:
    """The image of that name, or the only one (None), for this platform.  ConfigError."""
    if source.open("index.json") is not None:
        images = list(_layout_images(source, where, _json(source, "index.json", "", where), 0))
    elif source.open("manifest.json") is not None:
        images = list(_docker_images(source, where))
    else:
        raise ConfigError(f"{where}: no container image: it has neither index.json nor manifest.json")
    found = [image for image in images if name is None or _is_called(image.name, name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted({image.name or "one without a name" for image in images}))
    if not images:
        raise ConfigError(f"{where}: no image for {'/'.join(_PLATFORM)} in it")
    if not found:
        raise ConfigError(f"{where}: no image '{name}' in it; there are {names}")
    raise ConfigError(f"{where}: several images: {names}; say which one with --tag")


def unpack(packed: IO[bytes], plain: IO[bytes], limit: int, what: str, progress: Progress) -> str:
    """Unpack a file, whatever it is packed with, into another one, with holes for zeroes; the digest of what comes out.

    ConfigError where that is more than `limit` bytes; any of DAMAGED.
    """
    sha, done = hashlib.sha256(), 0
    with _unpacking(packed) as stream:
        while chunk := stream.read(_CHUNK):
            done += len(chunk)
            if done > limit:
                raise ConfigError(f"{what}: more than {limit >> 20}M comes out of it: give the disk more with --size")
            sha.update(chunk)
            if chunk.count(0) == len(chunk):
                plain.seek(len(chunk), os.SEEK_CUR)
            else:
                plain.write(chunk)
            progress(what, done, 0)
    plain.truncate(done)
    plain.seek(0)
    return f"sha256:{sha.hexdigest()}"


def _check(blob: IO[bytes], digest: str, what: str) -> None:
    """ConfigError where the file has another digest."""
    sha = hashlib.sha256()
    while chunk := blob.read(_CHUNK):
        sha.update(chunk)
    if digest and digest != f"sha256:{sha.hexdigest()}":
        raise ConfigError(f"{what}: damaged: its digest is not {digest}")
    blob.seek(0)


def _packing(file: IO[bytes]) -> str:
    start = file.read(4)
    file.seek(0)
    return "gzip" if start[:2] == b"\x1f\x8b" else "zstd" if start == b"\x28\xb5\x2f\xfd" else ""


@contextmanager
def _unpacking(file: IO[bytes]) -> Iterator[IO[bytes]]:
    match _packing(file):
        case "gzip":
            with gzip.open(file) as stream:
                yield cast(IO[bytes], stream)
        case "zstd":
            unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
            with unpacker.stream_reader(file, read_across_frames=True, closefd=False) as stream:
                yield cast(IO[bytes], stream)
        case _:
            yield file


def _layout_images(source: Source, where: str, index: Mapping[str, Any], depth: int) -> Iterator[ContainerImage]:
    """The images of an index for this platform."""
    for entry in _list(index, "manifests", where):
        platform = entry.get("platform")
        if isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) != _PLATFORM:
            continue
        digest = _digest(entry, where)
        manifest = _json(source, blob_name(digest), digest, where)
        if "manifests" in manifest:
            if depth >= _MOST_NESTED:
                raise ConfigError(f"{where}: indexes of indexes, deeper than {_MOST_NESTED}")
            inner = list(_layout_images(source, where, manifest, depth + 1))
        else:
            inner = list(_manifest_image(source, where, manifest))
        name = _reference(entry)
        yield from (ContainerImage(image.name or name, image.config, image.layers) for image in inner)


def _manifest_image(source: Source, where: str, manifest: Mapping[str, Any]) -> Iterator[ContainerImage]:
    described = manifest.get("config")
    if not isinstance(described, dict):
        raise ConfigError(f"{where}: a manifest without a configuration")
    digest = _digest(described, where)
    config = _json(source, blob_name(digest), digest, where)
    if (config.get("os", "linux"), config.get("architecture", "amd64")) != _PLATFORM or "rootfs" not in config:
        return  # of another platform, or no image but what belongs to one
    digests = [_digest(layer, where) for layer in _list(manifest, "layers", where)]
    yield ContainerImage("", config, _layers(config, [(blob_name(one), one) for one in digests], where))


def _docker_images(source: Source, where: str) -> Iterator[ContainerImage]:
    manifests = _json(source, "manifest.json", "", where, list)
    for manifest in manifests:
        if not isinstance(manifest, dict) or not isinstance(manifest.get("Config"), str):
            raise ConfigError(f"{where}: a manifest without a configuration")
        named = re.fullmatch(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?", manifest["Config"])
        config = _json(source, manifest["Config"], f"sha256:{named[1]}" if named else "", where)
        if (config.get("os", "linux"), config.get("architecture", "amd64")) != _PLATFORM:
            continue
        paths = manifest.get("Layers")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise ConfigError(f"{where}: a manifest without layers")
        layers = _layers(config, [(path, "") for path in paths], where)
        tags = manifest.get("RepoTags")
        names = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
        yield ContainerImage(" ".join(names), config, layers)


def _layers(config: Mapping[str, Any], found: Sequence[tuple[str, str]], where: str) -> tuple[Layer, ...]:
    """The layers with the digests that the configuration has of them."""
    root = config.get("rootfs")
    unpacked = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(unpacked, list) or len(unpacked) != len(found):
        raise ConfigError(f"{where}: damaged: its configuration tells of other layers than its manifest")
    if len(found) > MOST_LAYERS:
        raise ConfigError(f"{where}: more than {MOST_LAYERS} layers")
    for digest in unpacked:
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ConfigError(f"{where}: a layer's digest is none of SHA-256")
    return tuple(Layer(name, digest, other) for (name, digest), other in zip(found, unpacked, strict=True))


def blob_name(digest: str) -> str:
    """Where a layout has the blob of that digest."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _digest(descriptor: object, where: str) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ConfigError(f"{where}: damaged: something is named without a digest of SHA-256")
    return digest


def _list(value: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(f"{where}: damaged: no list of {key} where there should be one")
    return found


def _json(source: Source, name: str, digest: str, where: str, kind: type = dict) -> Any:
    file = source.open(name)
    if file is None:
        raise ConfigError(f"{where}: incomplete: {name} is not in it")
    with file:
        try:
            data = file.read(MOST_JSON + 1)
            if len(data) > MOST_JSON:
                raise ConfigError(f"{where}: {name} is larger than any manifest or configuration")
            source.nr_said += len(data)
            if source.nr_said > _MOST_JSON_IN_ALL:
                raise ConfigError(f"{where}: it has more manifests and configurations than images need")
            if digest and digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
                raise ConfigError(f"{where}: damaged: the digest of {name} is another one")
            value = json.loads(data)
        except (OSError, *DAMAGED):
            raise ConfigError(f"{where}: damaged: {name} is not the JSON that it should be") from None
    if not isinstance(value, kind):
        raise ConfigError(f"{where}: damaged: {name} is not the JSON that it should be")
    return value


def _reference(entry: Mapping[str, Any]) -> str:
    notes = entry.get("annotations")
    names = [notes[key] for key in _REFERENCES if key in notes] if isinstance(notes, dict) else []
    return next((name for name in names if isinstance(name, str)), "")


def _is_called(names: str, wanted: str) -> bool:
    """Whether one of the names is the wanted one, or ends in it: debian:12 is docker.io/library/debian:12."""
    return any(name == wanted or name.endswith((f"/{wanted}", f":{wanted}")) for name in names.split())
