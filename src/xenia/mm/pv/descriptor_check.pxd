# Which segment descriptors a guest may have in a GDT or LDT frame.
from libc.stdint cimport uint64_t

# Whether the guest may have this descriptor; if so, *descriptor is what is to be stored in its place.
cdef bint check_descriptor(uint64_t *descriptor) noexcept nogil
# The 512 descriptors of a frame that is to become FRAME_SEG_DESC.  All are adjusted, or (-XEN_EINVAL) none.
cdef int validate_segment_descriptors(uint64_t *words) noexcept nogil
