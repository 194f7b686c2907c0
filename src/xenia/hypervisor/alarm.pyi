"""Alarms: a timer for each pcpu, and one thread that rings them all.

Theory of operation.  Each alarm is a timerfd, so that its owner sets it with one system call and asks nobody.  The
thread waits for all of them with one epoll, which tells it once of each expiry (edge-triggered: nothing needs to be
read).  What comes back is a place in a table, not an address: the thread looks it up and rings with the lock held, and
whoever takes an alarm out of the table holds the lock as well.  So an alarm that is not watched any more can go,
whatever the kernel still has to tell of it; at worst whoever has its place by now is rung for nothing.

There is a thread as long as there is an alarm.  The last one to go wakes it, on a descriptor of its own, to end.
"""

class Alarms:
    """The alarms of a machine's pcpus."""
    def __init__(self) -> None: ...
    def settle(self) -> None:
        """Wait until the thread has ended, where there is nothing left that it would ring."""
        ...
