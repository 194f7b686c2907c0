"""What a network frontend can take."""

from __future__ import annotations

from typing import NamedTuple


class Features(NamedTuple):
    """A frontend's keys, as public/io/netif.h names them; each default is what a frontend without keys can do."""

    sg: bool = False  # feature-sg: frames in several pages
    gso_tcpv4: bool = False  # feature-gso-tcpv4: TCP segments that are still to be cut
    gso_tcpv6: bool = False  # feature-gso-tcpv6
    checksum_ipv4: bool = True  # no feature-no-csum-offload: checksums that are still to be filled in
    checksum_ipv6: bool = False  # feature-ipv6-csum-offload
    headroom: int = 0  # xdp-headroom: bytes to leave free before each frame, which is to be in one page
