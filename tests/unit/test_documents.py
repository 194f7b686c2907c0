"""What the package shows of itself, and files and commands that the documents name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import xenia
from xenia.cli import main
from xenia.cli.parser import build_parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem != "performance")]
SHOWN = re.compile(r"^ {4,}(.*\bxenia .*)$", re.M)


def test_the_package_shows_what_it_offers() -> None:
    assert {"Machine", "Domain", "ConfigError", "Result", "run"} <= set(dir(xenia))
    for name in xenia.__all__:
        assert getattr(xenia, name).__doc__, name


def test_every_file_that_the_developers_guide_names_is_there() -> None:
    guide = (ROOT / "docs" / "developing.md").read_text()
    named = set(re.findall(r"(?:src|tests|docs|guests|bench|scripts)/[\w./-]+\w/?", guide))
    to_come = {"src/xenia/net/", "src/xenia/backends/NAME/", "src/xenia/cpu/engines/NAME/engine.pyx"}
    to_come |= {"tests/guests/answers/NAME.txt", "src/xenia/abi/"}
    missing = sorted(name for name in named - to_come if not (ROOT / name).exists())
    assert missing == [] and len(named) > 40


def commands(document: Path) -> Iterator[list[str]]:
    """The arguments of each `xenia` that a document shows as something to type."""
    for line in SHOWN.findall(document.read_text()):
        text = re.sub(r"(?<!\S)\[([^]]*)\](?!\S)", r"\1", line)  # what may be left out
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            words = [word for word in lexer if word != "..."]
        except ValueError:
            continue  # it goes on in the next line, or is none
        while words:
            end = next((number for number, word in enumerate(words) if set(word) <= set("|&;<>()")), len(words))
            command = [word for number, word in enumerate(words[:end]) if number or "=" not in word]
            while command and (command[0] in ("$", "#") or command[0].endswith("$")):
                del command[0]
            if command and command[0] in ("xenia", "./xenia"):
                yield command[1:]
            del words[: end + 1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_that_a_document_shows_is_understood(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    for words in commands(document):
        own, guests = main.split_command(words)
        try:
            options, unknown = parser.parse_known_args(main._joined(own))
        except SystemExit as ended:
            assert ended.code == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
            continue
        assert not unknown, shlex.join(words)
        assert guests is None or options.verb in main._WITH_COMMAND, shlex.join(words)


def test_commands_are_found_in_what_documents_show() -> None:
    found = [words for document in DOCUMENTS for words in commands(document)]
    assert len(found) > 150
    assert {words[0] for words in found if words} >= {"run", "exec", "cp", "net", "kernel", "image", "gdb", "share"}
