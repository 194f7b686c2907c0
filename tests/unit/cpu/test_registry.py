"""Engines by their names."""

import dataclasses
import subprocess
import sys

import pytest

from xenia.cpu import registry
from xenia.cpu.engines.native import engine as native_engine, host, stubs
from xenia.cpu.registry import DEFAULT, EngineKind, chosen, engine_kind, engines, lack
from xenia.errors import ConfigError
from xenia.hypervisor.machine import MachineHandle, engine_self_test
from xenia.testing import interpreter
from xenia.testing.bare import Program

MEMORY = 16 << 20
HLT = b"\xf4"


def test_an_engine_that_does_not_exist_is_the_operators_mistake_and_tests_engines_are_not_offered() -> None:
    assert engine_kind("interpreter").capabilities == interpreter.CAPABILITIES
    with pytest.raises(ConfigError, match=f"'quick'.*: auto, {DEFAULT}, native$"):
        engine_kind("quick")


NEEDS_HOST = ("native", "eager", "looking")  # which only some hosts give


def skip_where_it_cannot_run(kind: EngineKind) -> None:
    if kind.name in NEEDS_HOST and (lack := host.lack()) is not None:
        pytest.skip(lack)


def test_auto_is_the_native_engine_where_the_host_permits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (chosen("emulated"), chosen("native")) == ("emulated", "native")
    assert chosen("auto") == ("native" if host.lack() is None else "emulated")

    def refuse() -> None:
        raise ConfigError("not here")

    monkeypatch.setattr(stubs, "require", refuse)
    monkeypatch.setattr(native_engine, "_maker", [])
    monkeypatch.setattr(registry, "lack", lack.__wrapped__)
    assert chosen("auto") == "emulated"
    assert registry.lack() == "not here"


def test_a_machine_may_have_whatever_engine_there_is() -> None:
    assert MachineHandle(MEMORY, engine="auto").engine == chosen("auto")


def test_an_engine_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys; from xenia.cpu.registry import DEFAULT, engine_kind; import xenia.hypervisor.machine;"
        "name = engine_kind(DEFAULT).module; assert name not in sys.modules;"
        "engine_kind(DEFAULT).load(); assert name in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", engines(), ids=[kind.name for kind in engines()])
def test_the_doctor_hears_of_an_engine_by_its_name(kind: EngineKind) -> None:
    skip_where_it_cannot_run(kind)
    assert engine_self_test(kind.name).startswith(f"{kind.name}, ")


@pytest.mark.parametrize("kind", engines(), ids=[kind.name for kind in engines()])
def test_what_an_engine_can_do_never_changes(kind: EngineKind) -> None:
    field = dataclasses.fields(kind.capabilities)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind.capabilities, field, False)


@pytest.mark.parametrize("kind", engines(), ids=[kind.name for kind in engines()])
def test_every_engine_can_be_prepared_for_and_tested_and_counts(kind: EngineKind) -> None:
    skip_where_it_cannot_run(kind)
    assert kind.load().reserve(1) >= 1
    assert kind.load().self_test()
    program = Program(HLT, engine=kind.name)
    assert program.run()
    assert program.last[:2] == ("exception", 13)
    assert {"flush_all", "flush_page"} <= program.statistics.keys()


def test_the_debug_mode_needs_an_engine_that_shows_what_it_has_cached() -> None:
    for kind in engines():
        if kind.name in NEEDS_HOST:
            continue
        if kind.capabilities.shows_translations:
            MachineHandle(MEMORY, check=True, engine=kind.name)
        else:
            MachineHandle(MEMORY, engine=kind.name)
            with pytest.raises(ConfigError, match=kind.name):
                MachineHandle(MEMORY, check=True, engine=kind.name)
