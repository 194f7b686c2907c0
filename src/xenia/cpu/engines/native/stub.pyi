"""Stubs: processes in which user code of a guest runs on the host's processor, as Xenia sees them.

Theory of operation.  What runs in a stub, and why it is believed so little, is in stub.c.  Here is the other end: two
threads that each wait for a number to change, and a page of orders.

The guest thread.  Entry `n` is made by writing registers into the frame on its handler's stack, then `go = n`; the
handler returns to guest code.  It has ended when the handler says `exit = n`, with the frame anew.  Guest code could
say so as well, and run on.  Nothing comes of that by itself: what it says are registers, which it could have had.  But
that it takes no more of the host's time needs proof: `stub_settles`.  A thread that sleeps at `go` is moved to
`parked`, which the kernel does for one that sleeps there alone.  Xenia alone wakes it, or a signal: a kick may still be
on its way to it.  So one that was kicked is woken when the mapper has said that it sent all, and when it sleeps again
it has been back in user mode meanwhile, and has had what came.

The mapper.  A batch of orders is carried out when it has written to its event, which nobody else can.  What was taken
away is gone then, wherever the guest thread is.  That it sleeps would not do: a signal on its way to it is written to a
stack that guest code has chosen.  The first batch of a stub takes everything from it, and is waited for before guest
code runs: so the mapper has its filter by then.

Orders that take nothing away, which is what a page fault leads to, are handed over with the entry, and the last of them
wakes the guest thread: two switches between processes instead of four, each of which may cost the processor all that it
has predicted.  A guest thread that had not slept yet is on its way before they are carried out, and faults once more.
That they are is waited for when it has left.  One that has another processor (placement.pyx) may not sleep at all: for
it they are carried out before.

There each looks for the other's number for a while, and sleeps then.  Who is about to sleep says so, and then looks
once more; who has changed a number then looks whether he has to wake the other.  What the guest thread says of that is
believed, for nobody else waits in vain.

Where they share a processor both sleep until they are woken, so all of it is the host's to schedule.  A stub that ended
is told of by its maker (arena.pyx); a guest thread that does not leave guest code when it is kicked is given up after a
while.
"""
