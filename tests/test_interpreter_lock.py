"""No thread waits for a lock, or in the kernel, with the interpreter's lock held: the compiled source is read for it.

A function may wait if it calls one of WAITS or a function that may.  Whatever is not declared `nogil` must call such a
one within `with nogil:`.  Receivers of methods are known by their declarations; pointers to functions are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "xenia"
WAITS = {"lock", "lock_wait", "condition_wait", "poll", "ppoll", "fdatasync", "sync_file_range", "madvise"}
WAITS |= {"sched_yield", "preadv2", "pwritev2", "fallocate", "munmap", "usleep", "nanosleep"}
FUNCTION = re.compile(r"^(\s*)(?:cdef|cpdef|def)\s+(?:[^()=]*?\W)?(\w+)\(")
CLASS = re.compile(r"^(?:cdef )?class (\w+)(?:\((\w+)\))?:")
CALL = re.compile(r"((?:\(<\w+>[\w.]+\)\.|\w+\.)*)(\w+)\(")
TYPED = re.compile(r"\b([A-Z]\w+) (?:not None )?(\w+)")


@dataclass
class Function:
    """A function or method of the compiled source; its calls as (line, receiver's type or none, name)."""

    module: str
    owner: str
    name: str
    nogil: bool
    line: int
    calls: list[tuple[int, str | None, str, bool]] = field(default_factory=list)
    waits: bool = False


class Source:
    """Every function, what each module knows by which name, and the classes."""

    def __init__(self, modules: dict[str, tuple[str, str]]) -> None:
        self.functions: list[Function] = []
        self.imported: dict[tuple[str, str], str] = {}
        self.bases: dict[str, str] = {}
        self.attributes: dict[tuple[str, str], str] = {}
        for module, (pyx, pxd) in modules.items():
            self._read_declarations(module, pxd)
            self._read_declarations(module, pyx)
            self._read(module, pyx.splitlines())
        while any([self._spread(function) for function in self.functions]):
            pass

    def _read_declarations(self, module: str, text: str) -> None:
        for source, names in re.findall(r"^from (xenia[\w.]+) cimport (\([^)]*\)|[^\n(]*)", text, re.M):
            for name in re.findall(r"\w+", names):
                self.imported[module, name] = source
        owner = ""
        for line in text.splitlines():
            if found := CLASS.match(line):
                owner = found[1]
                self.bases.setdefault(owner, found[2] or "")
            elif found := re.match(r"    cdef (?:readonly |public )?(\w+) (\w+)\s*(?:#.*)?$", line):
                self.attributes[owner, found[2]] = found[1]

    def _read(self, module: str, lines: list[str]) -> None:
        owner, function, indent, released, types = "", None, 0, -1, dict[str, str]()
        for number, line in enumerate(lines, 1):
            code = line.split("#")[0]
            depth = len(code) - len(code.lstrip())
            if not code.strip():
                continue
            if found := CLASS.match(code):
                owner, function = found[1], None
            elif found := FUNCTION.match(code):
                owner = owner if depth else ""
                signature = self._signature(lines, number - 1)
                nogil = re.search(r"\)[^()]*\bnogil\b", signature) is not None
                function = Function(module, owner, found[2], nogil, number)
                self.functions.append(function)
                indent, released = depth, -1
                types = {name: kind for kind, name in TYPED.findall(signature)}
            elif function is not None and depth > indent:
                types.update({name: kind for kind, name in TYPED.findall(code)} if "cdef" in code else {})
                if released >= 0 and depth <= released:
                    released = -1
                if code.strip() == "with nogil:":
                    released = depth
                for receiver, name in CALL.findall(code):
                    kind = self._type(owner, receiver.rstrip("."), types) if receiver else ""
                    function.calls.append((number, kind, name, function.nogil or released >= 0))

    @staticmethod
    def _signature(lines: list[str], at: int) -> str:
        text = ""
        while not text.rstrip().endswith(":"):
            text += lines[at].split("#")[0].rstrip()
            at += 1
        return text

    def _type(self, owner: str, receiver: str, types: dict[str, str]) -> str | None:
        if cast := re.match(r"\(<(\w+)>", receiver):
            return cast[1]
        first, *rest = receiver.split(".")
        kind: str | None = owner if first == "self" else types.get(first)
        for name in rest:
            kind = self.attributes.get((kind, name)) if kind else None
        return kind

    def _targets(self, function: Function, kind: str | None, name: str) -> Iterator[Function]:
        module = self.imported.get((function.module, name), function.module)
        for other in self.functions:
            if other.name != name:
                continue
            if kind == "" and other.owner == "":
                found = other.module == module
            else:
                found = bool(other.owner) and self._related(other.owner, kind)
            if found:
                yield other

    def _related(self, one: str, other: str | None) -> bool:
        return bool(other) and (self._is(one, other or "") or self._is(other or "", one))

    def _is(self, derived: str, base: str) -> bool:
        while derived and derived != base:
            derived = self.bases.get(derived, "")
        return derived == base

    def may_wait(self, function: Function, kind: str | None, name: str) -> bool:
        """Whether that call of `function` may wait."""
        return (kind == "" and name in WAITS) or any(other.waits for other in self._targets(function, kind, name))

    def _spread(self, function: Function) -> bool:
        if function.waits:
            return False
        function.waits = any(
            released == function.nogil and self.may_wait(function, kind, name)
            for _, kind, name, released in function.calls
        )
        return function.waits

    def mistakes(self) -> list[str]:
        """Calls that may wait with the interpreter's lock held."""
        return [
            f"{function.module}:{line}: {function.owner}.{function.name} calls {name} with the interpreter's lock"
            for function in self.functions
            for line, kind, name, released in function.calls
            if not released and self.may_wait(function, kind, name)
        ]


def modules() -> dict[str, tuple[str, str]]:
    """The compiled source, without the aids for tests: their domains stand still."""
    found = {}
    for path in SOURCE.rglob("*.pyx"):
        name = ".".join(("xenia", *path.relative_to(SOURCE).with_suffix("").parts))
        pxd = path.with_suffix(".pxd")
        if not name.startswith(("xenia.testing", "xenia.machine.lock")):
            found[name] = (path.read_text(), pxd.read_text() if pxd.exists() else "")
    return found


def test_nothing_waits_for_a_lock_with_the_interpreters_lock_held() -> None:
    source = Source(modules())
    assert source.mistakes() == []
    waiting = {f"{function.owner}.{function.name}".lstrip(".") for function in source.functions if function.waits}
    assert {"grant_hold", "event_send", "release", "DomainFrames.hold", "Workers.get", "machine_alloc"} <= waiting


def test_it_would_be_found() -> None:
    source = Source(
        {
            "xenia.a": (
                "cdef class Frames:\n"
                "    cdef void hold(self) noexcept nogil:\n        pass\n"
                "cdef class Granted(Frames):\n"
                "    cdef void hold(self) noexcept nogil:\n        take(&self.lock)\n"
                "cdef void take(Lock *it) noexcept nogil:\n    lock(it)\n",
                "",
            ),
            "xenia.b": (
                "from xenia.a cimport Frames, take\n"
                "cdef class Holds:\n    cdef Frames frames\n"
                "    def right(self):\n        with nogil:\n            self.frames.hold()\n            take(NULL)\n"
                "    def wrong(self):\n        with nogil:\n            take(NULL)\n        self.frames.hold()\n"
                "    def directly(self):\n        lock(&self.lock)\n"
                "    def twice(self):\n        self.directly()\n"
                "def by_name():\n    take(NULL)\n",
                "",
            ),
        }
    )
    assert [mistake.split(": ", 1)[1] for mistake in source.mistakes()] == [
        "Holds.wrong calls hold with the interpreter's lock",
        "Holds.directly calls lock with the interpreter's lock",
        "Holds.twice calls directly with the interpreter's lock",
        ".by_name calls take with the interpreter's lock",
    ]
