"""What machines and domains are asked for: each option written once, for whoever makes them, here or elsewhere."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from xenia.domain.build.elf import ElfKernel
from xenia.toolstack.config.choices import Clock
from xenia.toolstack.config.machine import MIB

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class MachineOptions:
    """See Machine."""

    memory: int
    _: KW_ONLY
    scatter: int | None = None
    check: bool = False
    xenstore_socket: str | os.PathLike[str] | bool | socket.socket | None = None
    jail: bool = True
    isolate: bool = False
    scheduler: str = "null"
    pcpus: int | None = None
    engine: str = "emulated"

    def elsewhere(self) -> dict[str, Any]:
        """Those that another process is told, as plain data; the rest is there for this one."""
        return _without(self, "xenstore_socket", "jail", "isolate")


@dataclass(frozen=True)
class DomainOptions:
    """See Machine.create_domain."""

    kernel: str | os.PathLike[str] | bytes | ElfKernel
    _: KW_ONLY
    name: str = "guest"
    initrd: str | os.PathLike[str] | bytes | None = None
    cmdline: str = ""
    memory: int = 256 * MIB
    vcpus: int = 1
    max_vcpus: int | None = None
    max_memory: int | None = None
    clock: Clock = "real"
    console: int | Callable[[bytes], None] | None = None
    driver_domain: bool = False
    engine: str | None = None

    def elsewhere(self) -> dict[str, Any]:
        """Those that another process is told, as plain data; the rest are files."""
        return _without(self, "kernel", "initrd", "console")


def _without(options: Any, *left_out: str) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in fields(options) if field.name not in left_out}


def taking(options: Callable[P, T]) -> Callable[[Callable[[S, T], R]], Callable[Concatenate[S, P], R]]:
    """Makes a method that is given these options as one value into one that takes them one by one."""

    def decorate(method: Callable[[S, T], R]) -> Callable[Concatenate[S, P], R]:
        @wraps(method)
        def with_options(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, options(*args, **kwargs))

        own, *_ = inspect.signature(method).parameters.values()
        taken = inspect.signature(options).parameters.values()
        signature = inspect.Signature([own, *taken], return_annotation=inspect.signature(method).return_annotation)
        with_options.__signature__ = signature  # type: ignore[attr-defined]
        return with_options

    return decorate
