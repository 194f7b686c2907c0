"""The grammar of xl.cfg: what is understood, and where it is told that something is not."""

from __future__ import annotations

from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.config.xl_grammar import Value, parse


def plain(value: Value) -> Any:
    return value.plain if isinstance(value.plain, str) else [plain(one) for one in value.plain]


def parsed(text: str) -> dict[str, Any]:
    return {name: plain(value) for name, value in parse(text).items()}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("\n\n# nothing\n", {}),
        ("name = 'web'", {"name": "web"}),
        ('name = "web"\n', {"name": "web"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1;;\n;b=2;", {"a": "1", "b": "2"}),
        ("memory = 0x200", {"memory": "0x200"}),
        ("memory = 01000 # octal", {"memory": "01000"}),
        ("a = 'it\\'s'", {"a": "it's"}),
        ("a = 'say \"hello\"'", {"a": 'say "hello"'}),
        ('a = "# no comment; none"', {"a": "# no comment; none"}),
        (r'a = "tab\tline\nx\x41\101\\"', {"a": "tab\tline\nxAA\\"}),
        ("a = []", {"a": []}),
        ("a = [ ]", {"a": []}),
        ("a = [ 1, 'two' ]", {"a": ["1", "two"]}),
        ("a = [ 'one', ]", {"a": ["one"]}),
        ("a = [\n  'one', # the first\n\n  'two'\n]\nb=1", {"a": ["one", "two"], "b": "1"}),
        ("a = ['one'\n,\n'two']", {"a": ["one", "two"]}),
        ("a = [ ['one', 'two'], [], 3 ]", {"a": [["one", "two"], [], "3"]}),
        ("a = 'x'\na += 'y'", {"a": "xy"}),
        ("a = [1]\na += [2, 3]", {"a": ["1", "2", "3"]}),
        ("a += 'y'", {"a": "y"}),
        ("a = 1\na = 2", {"a": "2"}),
        ("\ta\t=\t1\t", {"a": "1"}),
        ("a = 1\r\nb = 2\r\n", {"a": "1", "b": "2"}),
        ("on_crash='destroy'", {"on_crash": "destroy"}),
    ],
)
def test_what_is_written_is_what_is_found(text: str, found: dict[str, Any]) -> None:
    assert parsed(text) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name", "cfg:1: config parsing error at the end of the line: = or"),
        ("name = web", "cfg:1: config parsing error near `web': a value is a number, a list, or a string in quotes"),
        ("a = 1\nb = ", "cfg:2: .* a value is"),
        ("a = 'one\ntwo'", "cfg:1: config parsing error near `'': nothing here begins so"),
        ("a = [ 1 2 ]", "cfg:1: config parsing error near `2': , or ] comes after a value"),
        ("a = [ 1,\n 2", "cfg:2: .* , or ] comes after"),
        ("a = [ ,1 ]", "cfg:1: .* near `,'"),
        ("a = [ 1; 2 ]", "near `;'"),
        ("a = 1 b = 2", "cfg:1: config parsing error near `b': a statement ends with its line, or ;"),
        ("a = (1)", r"near `\('"),
        ("= 1", "a name begins a statement"),
        ("7 = 1", "a name begins a statement"),
        (r"a = '\q'", r"there is no \\q in a string"),
        ("a = 'x'\na += [1]", r"cfg:2: .* \+= adds a string to a string"),
        ("import os\nname = 'x'", "cfg:1: .* this is Python"),
        ("disk = [ 'a' ]\nif x:\n", "cfg:2: .* this is Python"),
        ("a = '''x'''", "near `''''"),
        ("a = @x", "near `@'"),
    ],
)
def test_what_is_not_understood_is_told_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse(text, "cfg")
