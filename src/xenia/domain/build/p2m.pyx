"""The machine-to-physical map, filled for a new domain: frame numbers by the million, hence compiled."""

from libc.stdint cimport uint64_t


def fill_m2p(uint64_t[::1] m2p, const uint64_t[::1] frames) -> None:
    """Set m2p[frames[pfn]] = pfn for every pfn; ValueError, with nothing set, if a frame lies outside of the M2P."""
    cdef Py_ssize_t pfn
    cdef uint64_t nr_frames = <uint64_t>m2p.shape[0]
    with nogil:
        for pfn in range(frames.shape[0]):
            if frames[pfn] >= nr_frames:
                break
        else:
            for pfn in range(frames.shape[0]):
                m2p[<Py_ssize_t>frames[pfn]] = <uint64_t>pfn
            pfn = -1
    if pfn >= 0:
        raise ValueError(f"pfn {pfn}: frame {frames[pfn]:#x} lies outside of the M2P of {nr_frames:#x} entries")
