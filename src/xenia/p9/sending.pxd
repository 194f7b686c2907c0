# A message on its way to a client.
from libc.errno cimport EINTR
from libc.stdint cimport uint8_t, uint32_t
from xenia.machine.lock cimport Lock, lock, unlock
from xenia.p9.linux cimport MSG_NOSIGNAL, linux_errno, send


# Whether all of it went; one message at a time.
cdef inline bint send_whole(int socket, Lock *sending, const uint8_t *data, uint32_t size) noexcept nogil:
    cdef ssize_t gone
    cdef bint went = True
    lock(sending)
    while size:
        gone = send(socket, data, size, MSG_NOSIGNAL)
        if gone < 0:
            if linux_errno() == EINTR:
                continue
            went = False
            break
        data += gone
        size -= gone
    unlock(sending)
    return went
