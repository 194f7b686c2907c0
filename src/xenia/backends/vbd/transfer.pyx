"""Requests carried out on a descriptor, straight to and from the guest's frames, as many in one call as follow each
other on the disk."""

from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport uint32_t, uint64_t
from posix.types cimport off_t

from xenia.backends.vbd.request cimport OP_READ, OP_WRITE, Op, iovec

cdef extern from "<sys/uio.h>" nogil:
    ssize_t preadv2(int fd, const iovec *vectors, int count, off_t offset, int flags)
    ssize_t pwritev2(int fd, const iovec *vectors, int count, off_t offset, int flags)

cdef extern from "<fcntl.h>" nogil:
    int fallocate(int fd, int mode, off_t offset, off_t length)
    int FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE

cdef enum:
    MAX_VECTORS = 1024          # IOV_MAX: of one call
    MAX_MERGED = 8 << 20        # bytes of one call


cdef bint follows(Op *op, Op *before) noexcept nogil:
    return (op.kind == before.kind and (op.kind == OP_READ or op.kind == OP_WRITE) and not op.flush_first
            and not before.flush_first
            and op.offset == before.offset + before.length)


cdef int vectors_of(Op *op, iovec *vectors, Op **rest) noexcept nogil:
    # The vectors of a request and of those merged into it, as many as one call takes; `rest` is the first that is left
    # out.
    cdef int total = 0
    cdef uint64_t length = 0
    cdef uint32_t i
    while op != NULL and total + op.nr_vectors <= MAX_VECTORS and (total == 0 or length + op.length <= MAX_MERGED):
        for i in range(op.nr_vectors):
            vectors[total] = op.vectors[i]
            total += 1
        length += op.length
        op = op.merged
    rest[0] = op
    return total


cdef int transfer(int fd, Op *op, int flags) noexcept nogil:
    cdef iovec vectors[MAX_VECTORS]
    cdef iovec *at
    cdef Op *rest
    cdef bint reads = op.kind == OP_READ
    cdef off_t offset = op.offset
    cdef ssize_t done
    cdef int left
    while op != NULL:
        left = vectors_of(op, vectors, &rest)
        at = vectors
        while left:
            done = preadv2(fd, at, left, offset, flags) if reads else pwritev2(fd, at, left, offset, flags)
            if done < 0:
                if errno == EINTR:
                    continue
                return errno
            if done == 0:
                return EIO          # the file ends before the disk does
            offset += done
            while left and <size_t>done >= at.iov_len:
                done -= at.iov_len
                at += 1
                left -= 1
            if done:
                at.iov_base = <char *>at.iov_base + done
                at.iov_len -= done
        op = rest
    return 0


cdef int punch(int fd, Op *op) noexcept nogil:
    return errno if fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op.offset, op.length) else 0
