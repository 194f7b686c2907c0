"""The numbers of public/io/xs_wire.h, against the header itself where it is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xenia.abi import xs_wire

HEADER = Path("/usr/include/xen/io/xs_wire.h")


def test_the_interface_is_laid_out_as_the_structure_says() -> None:
    assert xs_wire.XSD_SOCKMSG.size == 16
    assert xs_wire.RSP_OFFSET == xs_wire.XENSTORE_RING_SIZE
    assert xs_wire.REQ_CONS_OFFSET == 2 * xs_wire.XENSTORE_RING_SIZE
    assert xs_wire.INTERFACE_SIZE == 2 * xs_wire.XENSTORE_RING_SIZE + 7 * 4


@pytest.mark.skipif(not HEADER.exists(), reason="Xen's public headers are not installed (libxen-dev)")
def test_every_error_and_message_of_the_header_is_known() -> None:
    text = HEADER.read_text()
    assert {error.name for error in xs_wire.XsdError} == set(re.findall(r"XSD_ERROR\((E\w+)\)", text))
    body = text[text.index("enum xsd_sockmsg_type") : text.index("XS_TYPE_COUNT")]
    names = re.findall(r"^    XS_(\w+)", body, re.MULTILINE)
    assert {kind.name for kind in xs_wire.MessageType} == set(names)
    assert max(xs_wire.MessageType) == len(names)  # one number, XS_RESTRICT's, is not in use
