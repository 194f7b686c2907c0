"""The configuration that a command line gives: a file in xl's form, and words that add to it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xenia.cli.voice import Voice
from xenia.errors import ConfigError

if TYPE_CHECKING:
    from xenia.toolstack.config.xl import Asked


def file_of(options: argparse.Namespace) -> str | None:
    """The configuration file that FILE or -f names.  ConfigError where there are two."""
    files = [] if options.defconfig is None else [options.defconfig]
    files += [word for word in options.words if "=" not in word]
    if len(files) > 1:
        raise ConfigError(f"one configuration file at a time: {files[0]} is given, and {files[1]} too")
    return files[0] if files else None


def configuration(path: str | None, options: argparse.Namespace, voice: Voice) -> Asked:
    """What that file and each KEY=VALUE ask for."""
    from xenia.toolstack.config.xl import read, read_file, words_of

    text = read_file(path) if path is not None else ""
    said = words_of(word for word in options.words if "=" in word)
    asked = read(f"{text}\n{said}", path if path is not None else "config")
    for warning in asked.warnings:
        voice.warn(warning)
    return asked
