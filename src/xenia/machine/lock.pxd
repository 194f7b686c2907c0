# A lock between host threads.  Zeroed memory is an unlocked one (Linux's PTHREAD_MUTEX_INITIALIZER).  It is not taken twice.
cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int lock "pthread_mutex_lock"(pthread_mutex_t *mutex)
    int unlock "pthread_mutex_unlock"(pthread_mutex_t *mutex)

ctypedef pthread_mutex_t Lock
