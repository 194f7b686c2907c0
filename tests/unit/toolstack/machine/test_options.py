"""Options of machines and domains are written once: whoever takes them has them all."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.machine.options import DomainOptions, MachineOptions


def names(method: object) -> list[str]:
    assert callable(method)
    return list(inspect.signature(method).parameters)


def test_help_shows_each_option_by_its_name() -> None:
    assert names(Machine.__init__) == ["self", *(field.name for field in fields(MachineOptions))]
    assert names(Machine.create_domain) == ["self", *(field.name for field in fields(DomainOptions))]
    console = inspect.signature(Machine.create_domain).parameters["console"]
    assert console.kind is inspect.Parameter.KEYWORD_ONLY and console.default is None


def test_an_option_that_is_not_there_is_refused_in_python_s_words() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Machine(16 * MIB, colour="red")  # type: ignore[call-arg]
    with Machine(16 * MIB) as machine, pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        machine.create_domain(b"", colour="red")  # type: ignore[call-arg]


def test_an_option_may_be_given_by_name_or_place_as_before() -> None:
    with Machine(memory=16 * MIB) as machine, pytest.raises(ConfigError, match="not an ELF file"):
        machine.create_domain(kernel=b"no kernel at all" * 512, memory=8 * MIB)


def test_what_another_process_is_told_is_plain_data_and_all_that_is_no_file() -> None:
    told = DomainOptions(b"kernel", name="web", memory=8 * MIB).elsewhere()
    assert json.loads(json.dumps(told)) == told
    assert told.keys() == {field.name for field in fields(DomainOptions)} - {"kernel", "initrd", "console"}
    assert MachineOptions(16 * MIB, scatter=3).elsewhere() == {
        "memory": 16 * MIB, "scatter": 3, "check": False, "engine": "auto", "scheduler": "null",
        "pcpus": None,
    }  # fmt: skip


@pytest.mark.parametrize("engine", ["emulated", "native", "auto", "eager", "looking"])
def test_every_engine_that_there_is_can_be_asked_for(engine: str) -> None:
    """Also those that are for tests alone, of which an operator is not told."""
    assert MachineOptions(16 * MIB, engine=engine).engine == engine
