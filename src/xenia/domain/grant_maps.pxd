# A domain's handles of frames that others granted it (its maptrack).
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, GrantMap, Vcpu

cdef enum:
    NO_HANDLE = 0xffffffff

# All by who has the turn, with no other lock held.  GNTST_*.
cdef int grant_map(Vcpu *vcpu, Domain *granter, uint32_t ref, uint32_t flags, uint64_t host_addr, uint32_t *handle,
                   uint64_t *maddr) noexcept nogil
# `host_addr` and `dev_bus_addr` 0: that mapping stays.  `new_addr` not 0: host_addr takes over what is mapped there.
cdef int grant_unmap(Vcpu *vcpu, uint32_t handle, uint64_t host_addr, uint64_t dev_bus_addr,
                     uint64_t new_addr) noexcept nogil
# At the domain's end: it gives back every frame of others.
cdef void grant_maps_release(Domain *domain) noexcept nogil
# Whether it maps frame `mfn` of another domain.
cdef bint grant_maps_frame(Domain *domain, uint64_t mfn) noexcept nogil
