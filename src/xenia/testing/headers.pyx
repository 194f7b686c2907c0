"""What is parsed of a frame, for tests: the bytes that may be looked at end where memory ends."""

from dataclasses import dataclass
from mmap import PAGESIZE, mmap

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from xenia.net.frame cimport HEAD, Frame, iovec
from xenia.net.parse cimport Headers, flow_hash, parse_frame

cdef extern from "<sys/mman.h>" nogil:
    int mprotect(void *address, size_t length, int protection)
    int PROT_NONE


@dataclass(frozen=True)
class Parsed:
    """A frame's Headers (net/parse.pxd); `flow` is its hash."""

    kind: int
    flags: int
    protocol: int
    tags: tuple[int, ...]
    ethertype: int
    network: int
    transport: int
    payload: int
    end: int
    source_port: int
    target_port: int
    tcp_flags: int
    flow: int


cdef class Cliff:
    """Two pages, of which the second cannot be looked at."""

    cdef object pages
    cdef uint8_t *edge

    def __init__(self) -> None:
        cdef uint8_t[::1] view
        self.pages = mmap(-1, 2 * PAGESIZE)
        view = self.pages
        self.edge = &view[0] + <Py_ssize_t>PAGESIZE
        if mprotect(self.edge, PAGESIZE, PROT_NONE):
            raise OSError("a page cannot be taken away")

    def parse(self, data: bytes, seed: int = 0) -> Parsed:
        """What is parsed of that frame, of which the first HEAD bytes end at the cliff, and the rest is nowhere."""
        cdef Frame frame
        cdef iovec[2] parts
        cdef Headers headers
        cdef const uint8_t *bytes = <const uint8_t *><const char *>data
        cdef size_t size = min(len(data), HEAD)
        memset(&frame, 0, sizeof(frame))
        memcpy(self.edge - size, bytes, size)
        frame.length, frame.nr_parts, frame.parts = len(data), 2, parts
        parts[0].iov_base, parts[0].iov_len = self.edge - size, size
        parts[1].iov_base, parts[1].iov_len = self.edge, len(data) - size
        parse_frame(&frame, &headers)
        return Parsed(headers.kind, headers.flags, headers.protocol,
                      tuple([headers.tags[i] for i in range(headers.nr_tags)]), headers.ethertype, headers.network,
                      headers.transport, headers.payload, headers.end, headers.source_port, headers.target_port,
                      headers.tcp_flags, flow_hash(&headers, seed))
