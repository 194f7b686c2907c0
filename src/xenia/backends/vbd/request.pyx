"""Requests of a blkif ring (public/io/blkif.h), from the copied ring entry to frames and vectors.

An entry was copied out of the ring once and only the copy is looked at; so it is with the segments of an indirect
request, which lie in frames of the guest's.  A frame is held before anything is read from or written to it, writable
where the device will write to it, and until that is done.  Segments whose frames happen to lie next to each other
become one vector.

A guest may let us keep the frames of its requests (feature-persistent): then each reference is held once, writable, and
found again in a table.
"""

from libc.errno cimport EIO, EINVAL, ENOMEM, EROFS
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from xenia.abi.blkif cimport (
    BLKIF_DISCARD_SECURE, BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT,
    BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER, blkif_request_discard_t, blkif_request_indirect_t,
    blkif_request_segment_t, blkif_request_t,
)

cdef enum:
    SECTOR_SHIFT = 9
    LAST_SECTOR = 7             # of a frame
    NOT_SUPPORTED = -1

cdef uint64_t MOST_SECTORS = <uint64_t>1 << 54


cdef void parse(const void *entry, Op *op, Limits *limits, Frames frames, Keep *keep) noexcept nogil:
    cdef const blkif_request_t *request = <const blkif_request_t *>entry
    op.operation = request.operation
    op.id = request.id
    op.barrier = op.flush_first = False
    op.error = 0
    op.nr_granted = op.nr_vectors = 0
    op.offset = op.length = 0
    op.merged = op.next = NULL
    if request.operation == BLKIF_OP_READ or request.operation == BLKIF_OP_WRITE:
        op.kind = OP_READ if request.operation == BLKIF_OP_READ else OP_WRITE
        op.error = EINVAL if request.nr_segments == 0 else data(op, request, limits, frames, keep)
    elif request.operation == BLKIF_OP_INDIRECT:
        op.error = indirect(op, <const blkif_request_indirect_t *>entry, limits, frames, keep)
    elif request.operation == BLKIF_OP_DISCARD:
        op.error = discard(op, <const blkif_request_discard_t *>entry, limits)
    elif request.operation == BLKIF_OP_FLUSH_DISKCACHE or request.operation == BLKIF_OP_WRITE_BARRIER:
        op.barrier = request.operation == BLKIF_OP_WRITE_BARRIER
        op.flush_first = True
        op.kind = OP_WRITE if request.nr_segments else OP_FLUSH
        if request.nr_segments:
            op.error = data(op, request, limits, frames, keep)
        elif op.barrier and limits.read_only:
            op.error = EROFS
    else:
        op.error = NOT_SUPPORTED
    if op.error:
        op.kind = OP_REFUSED
        op.barrier = False


cdef int data(Op *op, const blkif_request_t *request, Limits *limits, Frames frames, Keep *keep) noexcept nogil:
    if request.nr_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST:
        return EINVAL
    return segments(op, request.sector_number, request.seg, request.nr_segments, limits, frames, keep)


cdef int indirect(Op *op, const blkif_request_indirect_t *request, Limits *limits, Frames frames,
                  Keep *keep) noexcept nogil:
    cdef blkif_request_segment_t copied[MAX_SEGMENTS]
    cdef Granted page
    cdef uint32_t count = request.nr_segments
    if (request.indirect_op != BLKIF_OP_READ and request.indirect_op != BLKIF_OP_WRITE or count == 0
            or count > MAX_SEGMENTS):
        return EINVAL
    op.kind = OP_READ if request.indirect_op == BLKIF_OP_READ else OP_WRITE
    op.operation = request.indirect_op          # what the frontend finds in the response
    if frames.hold(request.indirect_grefs[0], False, &page):
        return EIO
    memcpy(copied, page.memory, count * sizeof(blkif_request_segment_t))
    frames.release(&page)
    return segments(op, request.sector_number, copied, count, limits, frames, keep)


cdef int discard(Op *op, const blkif_request_discard_t *request, Limits *limits) noexcept nogil:
    cdef bint secure = request.flag & BLKIF_DISCARD_SECURE and limits.secure_discard
    op.kind = OP_SECURE_DISCARD if secure else OP_DISCARD
    if not limits.discard:
        return NOT_SUPPORTED
    if limits.read_only:
        return EROFS
    if request.sector_number > MOST_SECTORS or request.nr_sectors > MOST_SECTORS:
        return EINVAL
    return place(op, request.sector_number, request.nr_sectors << SECTOR_SHIFT, limits)


cdef int place(Op *op, uint64_t sector, uint64_t length, Limits *limits) noexcept nogil:
    # Whether what the request names is inside the device.
    if sector > MOST_SECTORS:
        return EINVAL
    op.offset = sector << SECTOR_SHIFT
    op.length = length
    if op.offset > limits.size or length > limits.size - op.offset or (op.offset | length) & (limits.unit - 1):
        return EINVAL
    return 0


cdef int segments(Op *op, uint64_t sector, const blkif_request_segment_t *list, uint32_t count, Limits *limits,
                  Frames frames,
                  Keep *keep) noexcept nogil:
    # Everything is checked before anything is held.
    cdef uint64_t length = 0
    cdef uint32_t i
    cdef int error
    if op.kind == OP_WRITE and limits.read_only:
        return EROFS
    if op.kind == OP_WRITE and limits.failed:
        return limits.failed
    for i in range(count):
        if list[i].first_sect > list[i].last_sect or list[i].last_sect > LAST_SECTOR:
            return EINVAL
        length += <uint64_t>(list[i].last_sect - list[i].first_sect + 1) << SECTOR_SHIFT
    error = place(op, sector, length, limits)
    if error:
        return error
    if not make_room(op, count):
        return ENOMEM
    for i in range(count):
        if not take(op, list[i].gref, frames, keep):
            let_go(op, frames, keep)
            return EIO
        add_vector(op, op.granted[i].granted.memory + (<uint32_t>list[i].first_sect << SECTOR_SHIFT),
                   <size_t>(list[i].last_sect - list[i].first_sect + 1) << SECTOR_SHIFT)
    return 0


cdef bint make_room(Op *op, uint32_t count) noexcept nogil:
    cdef Held *granted
    cdef iovec *vectors
    if count <= op.room:
        return True
    granted = <Held *>realloc(op.granted, count * sizeof(Held))
    if granted != NULL:
        op.granted = granted
    vectors = <iovec *>realloc(op.vectors, count * sizeof(iovec))
    if vectors != NULL:
        op.vectors = vectors
    if granted == NULL or vectors == NULL:
        return False
    op.room = count
    return True


cdef void add_vector(Op *op, void *memory, size_t length) noexcept nogil:
    cdef iovec *last
    if op.nr_vectors:
        last = &op.vectors[op.nr_vectors - 1]
        if <char *>last.iov_base + last.iov_len == <char *>memory:
            last.iov_len += length
            return
    op.vectors[op.nr_vectors].iov_base = memory
    op.vectors[op.nr_vectors].iov_len = length
    op.nr_vectors += 1


cdef bint take(Op *op, uint32_t ref, Frames frames, Keep *keep) noexcept nogil:
    # The device writes to memory where the guest reads.
    cdef Held *held = &op.granted[op.nr_granted]
    cdef Kept *kept
    if keep.size:
        kept = find(keep, ref)
        if not kept.used and keep.count < keep.size // 2 and frames.hold(ref, True, &kept.granted) == 0:
            kept.used = True
            kept.ref = ref
            kept.busy = 0
            keep.count += 1
        if kept.used:
            kept.busy += 1
            held.granted = kept.granted
            held.kept = <uint32_t>(1 + (kept - keep.entries))
            op.nr_granted += 1
            return True
    if frames.hold(ref, op.kind == OP_READ, &held.granted):
        return False
    held.kept = 0
    op.nr_granted += 1
    return True


cdef Kept *find(Keep *keep, uint32_t ref) noexcept nogil:
    # The entry of a reference, or the free one where it belongs; the table is never more than half full.
    cdef uint32_t index = ref * <uint32_t>2654435761 & (keep.size - 1)
    while keep.entries[index].used and keep.entries[index].ref != ref:
        index = (index + 1) & (keep.size - 1)
    return &keep.entries[index]


cdef void let_go(Op *op, Frames frames, Keep *keep) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept
    for i in range(op.nr_granted):
        kept = op.granted[i].kept
        if not kept:
            frames.release(&op.granted[i].granted)
            continue
        keep.entries[kept - 1].busy -= 1
        if op.kind == OP_READ:
            frames.written(&op.granted[i].granted)
    op.nr_granted = op.nr_vectors = 0


cdef void keep_end(Keep *keep, Frames frames) noexcept nogil:
    cdef uint32_t i
    for i in range(keep.size):
        if keep.entries[i].used:
            frames.release(&keep.entries[i].granted)
    free(keep.entries)
    keep.entries = NULL
    keep.size = keep.count = 0
