"""The kernel's doors to a jail: prctl(2), seccomp(2) and landlock(7), and what becomes of a thread that runs into a
wall."""

ALL_THREADS: int

def prctl(option: int, argument: int = 0) -> int:
    """prctl(2) with one argument.  OSError."""
    ...

def add_filter(code: bytes, flags: int = 0) -> None:
    """Put a filter of system calls over this thread, or over all (ALL_THREADS).  OSError.

    Precondition: no_new_privs is set.
    """
    ...

def drop_capabilities() -> None:
    """Give up what sets root apart, for this thread and those it will start.  OSError."""
    ...

def filters_available() -> bool:
    """Whether this process may put filters of system calls over its threads."""
    ...

def watch_violations(status: int, names: dict[str, int]) -> None:
    """Where a filter stops a call from now on, say which on standard error, and end with `status`.

    A program that handles SIGSYS itself goes on to.  `names`: the calls' numbers by name.
    """
    ...

def name_this_thread(name: str) -> None:
    """What this thread is called where its call is stopped, and in the host's list of threads."""
    ...

def landlock_abi() -> int:
    """The version of Landlock that the kernel has; 0 where it has none, or it is off."""
    ...

def landlock_ruleset(fs: int, net: int, scoped: int) -> int:
    """A descriptor of rules that handle these rights.  OSError."""
    ...

def landlock_allow(rules: int, rights: int, parent: int) -> None:
    """Allow these rights beneath the open file `parent`.  OSError."""
    ...

def landlock_restrict(rules: int) -> None:
    """Hold this thread, and those it will start, to the rules.  OSError.  Precondition: no_new_privs is set."""
    ...

def settle_allocator() -> None:
    """Let the C library not look into /sys for the number of processors, which it would do late and on any thread."""
    ...
