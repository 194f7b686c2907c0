"""What is said before a boot of what the kernel lacks."""

from __future__ import annotations

import shlex

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.config.share import ShareConfig, parse_share
from xenia.toolstack.provision.boot import _check_shares

BARE = memoryview(b"\0Linux version 6.9.0-own (x@y) #1\0")
WITH_CLIENT = memoryview(bytes(BARE) + b"xen_9pfs_front\0")


def test_a_kernel_without_the_client_is_refused_with_what_puts_the_folder_on_a_disk() -> None:
    shared = MachineConfig(devices=(ShareConfig("/home/me/my src", "share0", "/src"),))
    with pytest.raises(ConfigError, match=r"6\.9\.0-own has no client .*--share '/home/me/my src':/src:disk$"):
        _check_shares(shared, None, BARE)
    _check_shares(shared, None, WITH_CLIENT)
    colon = MachineConfig(devices=(ShareConfig("/a:b", "share0", "/a:b"),))
    with pytest.raises(ConfigError) as refused:
        _check_shares(colon, None, BARE)
    (told,) = shlex.split(str(refused.value).rpartition("--share ")[2])
    assert parse_share(told) == ShareConfig("/a:b", mount="/a:b", on_disk=True)
    _check_shares(MachineConfig(), None, BARE)
    copied = MachineConfig(devices=(ShareConfig("/src", "share0", "/src", cow=True),))
    with pytest.raises(ConfigError, match=r"has no overlayfs.*--share /src:/src:disk$"):
        _check_shares(copied, None, WITH_CLIENT)
