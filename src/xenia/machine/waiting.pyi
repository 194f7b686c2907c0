"""A thread's wait for descriptors, which looks for a while before it sleeps where that pays.

Who sleeps on a processor that then has nothing to do is woken late: the processor halts, and on a virtual machine it
takes tens of microseconds until it runs again.  So after waits that were short, the thread looks again and again before
it sleeps, as KVM's halt_poll_ns does: for twice as long after each wait that it could have looked through (up to
LONGEST), and not at all after one that it could not.

Between two looks it yields.  Whoever else wants that processor has it; and where somebody did, and what is waited for
has not come of it, the thread sleeps at once and looks at nothing for its next waits, more of them each time.
"""
