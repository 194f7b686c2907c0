"""Giving things back, each whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self

from xenia.errors import ConfigError

P = ParamSpec("P")


class Releases:
    """Within the `with` block each call is made, and its failure kept; the end of the block raises what was kept.

    A fault of ours is raised before anything else.  What the host refused (ConfigError) is raised as one, in one line.
    """

    def __init__(self) -> None:
        self._failures: list[Exception] = []

    def do(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Make a call now."""
        try:
            call(*args, **kwargs)
        except Exception as failure:
            self._failures.append(failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for failure in self._failures:
            if not isinstance(failure, ConfigError):
                raise failure
        if len(self._failures) == 1:
            raise self._failures[0]
        if self._failures:
            raise ConfigError("; ".join(map(str, self._failures)))
