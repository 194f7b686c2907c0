"""The debug mode: what a processor has cached that no domain must have.

A guest may leave out a flush that only it would miss.  What it must never have, whatever it leaves out, is a way to
memory that is not its own, or to write to what the processor takes for a page table or a descriptor.

Other vcpus change page tables meanwhile.  A translation may have been looked at between such a change and the word of
it, and its frame after that, when it had been given back.  The word was said by then; so what is astray is there at a
second look.
"""

from libc.stdint cimport uint64_t

from xenia.machine.machine cimport FRAME_SEG_DESC, Frame


cdef list astray(Domain *domain, Engine engine):
    found = {one[:2] for one in once(domain, engine)}
    return [one for one in once(domain, engine) if one[:2] in found] if found else []


cdef list once(Domain *domain, Engine engine):
    cdef Frame *frame
    found = []
    for va, maddr, difference, writable in engine.stale_translations():
        frame = &domain.machine.frames[<uint64_t>maddr >> 12]
        if (frame.owner != domain.domid or frame.refs == 0
                or writable and frame.type_refs and frame.type <= FRAME_SEG_DESC):
            found.append((hex(va), hex(maddr), difference))
    return found
