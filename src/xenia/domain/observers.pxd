# Who watches what a domain does: see observers.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.cpu.processor cimport Processor, ProcessorOps
from xenia.domain.domain cimport NR_GUESTS, Domain, GuestAbi, Vcpu

cdef enum:
    OBSERVED = NR_GUESTS        # GuestAbi.column of a domain that is observed
    NR_OBSERVATIONS = 1 << 15   # that wait to be taken; a power of two
    NR_PORTS = 4096             # that can be told apart
    NR_PORT_WORDS = 64

cdef enum:                      # Observation.kind
    SEEN_HYPERCALL              # number, args as they were given, result
    SEEN_EVENT                  # number: the port that was made pending
    SEEN_UPDATE                 # number: the level; args: table, index, old and new entry

cdef struct Observation:
    volatile uint64_t ticket    # the count of those up to it, once it is complete
    uint64_t time               # CLOCK_MONOTONIC, ns
    uint32_t kind
    uint32_t vcpu               # who made the call, or is sent the event
    uint64_t number
    uint64_t args[6]
    int64_t result

cdef struct ObservedOps:
    ProcessorOps ops            # first: what Processor.ops points to
    ProcessorOps *plain
    Observers *observers

cdef struct Observers:
    GuestAbi abi                # first: what Domain.abi points to
    const GuestAbi *plain
    ObservedOps ops
    uint64_t hypercalls         # a bit for each that is watched
    uint64_t levels             # for each level of page tables
    uint8_t all_events
    uint64_t ports[NR_PORT_WORDS]
    volatile uint64_t head      # how many were begun, and
    volatile uint64_t tail      # taken
    volatile uint64_t lost      # there was no room for
    volatile uint8_t asleep     # who takes them waits for
    int wake_fd
    Observation ring[NR_OBSERVATIONS]

# Have a domain observed; what is watched is in `it`, which has to stay for as long as the domain is there.
cdef void observers_begin(Observers *it, Domain *domain) noexcept nogil
cdef void observers_end(Observers *it, Domain *domain) noexcept nogil
# The next that is complete, or NULL; observers_taken makes room.  By one thread.
cdef Observation *observers_next(Observers *it) noexcept nogil
cdef void observers_taken(Observers *it) noexcept nogil

# Of a domain that is observed, or was just now.
cdef void observe_hypercall(Vcpu *vcpu, uint64_t number, const uint64_t *args, int64_t result) noexcept nogil
cdef void observe_event(Domain *domain, uint32_t port, uint32_t vcpu) noexcept nogil
