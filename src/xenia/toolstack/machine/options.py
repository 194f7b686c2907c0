"""What machines and domains are asked for: each option written once, for whoever makes them, here or elsewhere."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from xenia.cpu.registry import AUTO, engine_kind
from xenia.domain.build.elf import ElfKernel
from xenia.errors import ConfigError
from xenia.toolstack.config import values
from xenia.toolstack.config.choices import CLOCKS, Clock
from xenia.toolstack.config.machine import MIB, format_size

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
    engine: str = "auto"

    def __post_init__(self) -> None:
        values.check_fields(
            self,
            memory=values.MACHINE_MEMORY,
            scatter=values.ANY_NUMBER,
            check=values.truth,
            jail=values.truth,
            isolate=values.truth,
            xenstore_socket=values.either(bool | socket.socket, values.file),
            scheduler=values.text,
            pcpus=values.NUMBER,
            engine=_engine,
        )

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

    def __post_init__(self) -> None:
        values.check_fields(
            self,
            kernel=values.either(ElfKernel, values.contents),
            name=values.guest_name,
            initrd=values.contents,
            cmdline=values.line,
            memory=values.MEMORY,
            vcpus=values.NUMBER,
            max_vcpus=values.NUMBER,
            max_memory=values.MEMORY,
            clock=values.one_of(CLOCKS),
            console=values.console,
            driver_domain=values.truth,
            engine=_engine,
        )
        if self.max_memory is not None and self.max_memory < self.memory:
            raise ConfigError(
                f"max_memory {format_size(self.max_memory)} is less than the {format_size(self.memory)} of memory "
                "that the domain begins with"
            )

    def elsewhere(self) -> dict[str, Any]:
        """Those that another process is told, as plain data; the rest are files."""
        return _without(self, "kernel", "initrd", "console")


def _engine(name: str, value: Any) -> str:
    """AUTO, or one that there is: what tests ask for, too."""
    return value if values.text(name, value) == AUTO else engine_kind(value).name


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
