"""libslirp, loaded when a network first needs it: from the host, or from files that were fetched.

It is BSD licensed and nothing of it is built in: what is called is looked up by name, and the structures are ours
(slirp.pxd).
"""

import os
from collections.abc import Sequence

from xenia.errors import ConfigError

cdef extern from "<dlfcn.h>":
    void *dlopen(const char *path, int flags)
    void *dlsym(void *handle, const char *name)
    const char *dlerror()
    enum:
        RTLD_NOW, RTLD_GLOBAL, RTLD_LOCAL

cdef extern from "<malloc.h>":
    int mallopt(int parameter, int value)
    enum:
        M_MMAP_THRESHOLD, M_TRIM_THRESHOLD

cdef enum:
    BUFFER = 128 * 1024             # bytes of a connection's, each way (TCP_SNDSPACE, TCP_RCVSPACE)
    SLACK = 4 << 20                 # bytes that are kept for what is wanted next

ctypedef void *(*Quieten)(void *handler, void *data)

NAME = "libslirp.so.0"
"""What the host's own is called."""


def load(libraries: Sequence[str] = ()) -> str:
    """Load libslirp, where it is not loaded yet; its version.

    libraries   files that are loaded in this order, the last one libslirp; none: the host's own
    ConfigError where it cannot be had, or is too old.
    """
    cdef void *handle = NULL
    cdef bytes path
    if library.slirp_new == NULL:
        for place in libraries or (NAME,):
            path = os.fsencode(place)
            handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL)
            if handle == NULL:
                raise ConfigError(f"libslirp cannot be loaded: {dlerror().decode(errors='replace')}")
        look_up(handle)
        # A connection's buffers are given back when it ends, and take what was written to only.  Left to itself the C
        # library takes the first that is freed for a sign that such are better kept.
        mallopt(M_MMAP_THRESHOLD, BUFFER)
        mallopt(M_TRIM_THRESHOLD, SLACK)
    return library.slirp_version_string().decode()


def is_there() -> bool:
    """Whether the host has one of its own that can be loaded."""
    return library.slirp_new != NULL or dlopen(NAME.encode(), RTLD_NOW | RTLD_LOCAL) != NULL


cdef void say_nothing(const char *domain, int level, const char *message, void *nothing) noexcept nogil:
    """What glib would print: a guest that does wrong makes libslirp complain, as often as it likes."""


cdef look_up(void *handle):
    cdef Library found
    cdef void **entries = <void **>&found
    cdef int index = 0
    for name in ("slirp_new", "slirp_cleanup", "slirp_pollfds_fill", "slirp_pollfds_poll", "slirp_input",
                 "slirp_add_hostxfwd", "slirp_remove_hostxfwd", "slirp_version_string"):
        entries[index] = dlsym(handle, name.encode())
        if entries[index] == NULL:
            raise ConfigError(f"libslirp is too old: it has no {name}, which came with version 4.5")
        index += 1
    (<Quieten>dlsym(handle, "g_log_set_default_handler"))(<void *>say_nothing, NULL)
    global library
    library = found


cdef int configured():
    version = tuple(int(part) for part in library.slirp_version_string().decode().split("-")[0].split(".")[:2])
    return 4 if version >= (4, 7) else 3
