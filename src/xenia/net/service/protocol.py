"""What is said with a network's process: requests and replies, a line of JSON each, over a stream socket.

A line asks: {"verb": "attach", ...} with what else the verb needs.  A line answers, in the order of the requests:
{"answer": ...}, or {"error": "..."} with one line for the operator.  Open files travel with the line that needs them
(SCM_RIGHTS).  Several connections may ask at once.  The first one of a process is its owner's, and when that closes
the process ends, and with it every port; a process that was started to stay ends when it is told to.

Unless a verb says otherwise its arguments may be left out, and the answer is null.

hello     {}
          -> {"name", "pid", "nat": true or false, "version": libslirp's or null,
              "gateway", "dns", "subnet", "gateway6", "dns6", "subnet6", "domain"}: addresses as text, or null
attach    {"name": what the guest is called (required), "mac": "00:16:3e:..." (required),
           "vnet": whether a struct virtio_net_hdr stands before each frame (true),
           "mtu": its card's, which DHCP tells it where that is less than the network's,
           "ip": the IPv4 address that it is to have, "also": others that it may use,
           "spoof": whether it may use anybody's (false),
           "isolated": whether it reaches only the gateway and what lies behind (false),
           "mirror": whether it is sent whatever the others send, and sends nothing (false),
           "unanswered": whether it is sent what it does not answer, however much (false),
           "vlan": its VLAN (0: none), "trunk": those whose frames are tagged, or "all" (null: none)}
          -> {"port": a number, "ip", "gateway", "dns", "domain"} and one descriptor: a stream socket, whose frames each
             have their length before them, four bytes in the network's order (with the header counted).  The port is
             gone when its other end is closed.
expect    {"name", "mac", "ip": as for attach} -> {"port", "ip"}: a card that comes by a joined link has this name and
             address, until `detach`
join      {"name": (required), "link": the fields of a link's spec (required), "isolated", "mirror", "vlan",
           "trunk": as for attach} and the descriptors that the link needs
          -> {"port"}: a link to elsewhere, on which any address may be
detach    {"port": (required)}
show      {} -> {"name", "nat": counters, "ports": [{"port", "name", "mac", "ip", "kind", counters...}],
             "addresses": [{"mac", "vlan", "port", "age"}], "leases": [{"mac", "ip", "name", "left"}],
             "forwards": [{"protocol", "address", "port", "to", "to_port"}], "host": [ports], "flows": [{"protocol",
             "guest", "remote", "state"}], "counters": {...}}: ages and times in seconds
forward   {"protocol": "tcp" or "udp" ("tcp"), "address": where the host listens ("127.0.0.1"), "port": (required),
           "to": a guest's name or address (the only guest), "to_port": (`port`)} -> the same, complete
unforward {"protocol", "address", "port"} as above
host      {"port": (required)}: guests reach this port of the host's loopback, at the gateway's address
unhost    {"port": (required)}
capture   {"port": (required)} and a descriptor to write pcapng to -> {"capture": a number}
uncapture {"capture": (required)}
own       {}: this connection is an owner's too; the process ends when the last owner has gone
hush      {}: whatever this connection asks from now on is refused: it only lasts, for whoever is not trusted with more
stop      {}: answered, and then the process ends
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 1 << 20
"""Bytes of a line at the most."""
MOST_DESCRIPTORS = 8


class Wire:
    """One end of a connection.  One thread sends and one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._data = bytearray()
        self._descriptors: list[int] = []

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send it, with copies of these open files.  OSError where nobody is there."""
        line = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self.socket, [line], descriptors) if descriptors else 0
        self.socket.sendall(line[sent:])

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next line, and the files that came with it, which are the caller's.  None: the other end has gone, or
        speaks something else.  A socket that does not block raises BlockingIOError where there is no whole line, one
        with a timeout TimeoutError."""
        while (end := self._data.find(b"\n")) < 0:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 65536, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, TimeoutError):
                raise
            except OSError:
                return None
            self._descriptors += descriptors
            self._data += data
            if not data or len(self._data) > LONGEST or len(self._descriptors) > MOST_DESCRIPTORS:
                return None
        line, self._data = bytes(self._data[:end]), self._data[end + 1 :]
        received, self._descriptors = self._descriptors, []
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._descriptors = received
            return None
        return message, received

    def close(self) -> None:
        """Let go of the connection, and of files that nobody took."""
        self.socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
