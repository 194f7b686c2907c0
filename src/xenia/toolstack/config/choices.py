"""The words among which an operator chooses, of what a guest is and how it runs."""

from __future__ import annotations

from typing import Literal, get_args

Clock = Literal["real", "warped"]
CLOCKS: tuple[str, ...] = get_args(Clock)
Engine = Literal["emulated", "native", "auto"]
ENGINES: tuple[str, ...] = get_args(Engine)
OnReboot = Literal["restart", "end"]
ON_REBOOT: tuple[str, ...] = get_args(OnReboot)

DEMO = "demo"  # the kernel, and the flavour, that is built into Xenia
FLAVOURS = ("amd64", "cloud-amd64", DEMO)
