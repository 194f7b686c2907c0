"""Several processors over the same memory: what one asks of the others, and when that is done.

Theory of operation.  What a processor has cached (translations of addresses, code that it translated, a page table that
it is just walking) is its own: its thread alone touches it, and nothing there is locked.  So another one that changes
a page table cannot take a translation away; it asks for it, and waits.

A processor is *inside* while its thread may use such things: in guest code, and in exits that are answered without any
lock.  It is *outside* while its thread waits for or holds a lock, sleeps, or does not run it at all.  Going in and out
is one atomic operation each; with one processor, none.

Who asks puts the request into the processor's mailbox and then looks whether it is inside.  Who goes in says so and
then looks into the mailbox.  With a full barrier between the two on either side, one of them sees the other: so a
processor that is seen outside does what was asked of it before it uses anything again, and need not be waited for.  One
that is inside is told to look (`ops.look`); it does so at the next translated block, or at the end of the exit without
a lock, and needs nobody for that.  So whoever waits, waits for a few microseconds of guest code, and there is no
deadlock: who waits for anything is outside, also who waits here.  (That is a rule for all that run on a vcpu's thread:
a lock, another domain's too, is taken outside.)

An engine may lose such a word: one that takes an earlier one back just then does not order that before its next look.
So it is said again to a processor that does not obey.

That a processor has left means that its stores are done: going out is a locked operation after them.  An engine that
has guest code run elsewhere, on another thread, sees to it that it does not run on when its processor is outside
(`ops.settle`): nobody waits for one that is.

Code.  A request to forget code is not waited for.  A processor that runs code which another one writes may run the old
or the new, until it learns of the writing and executes a serialising instruction.  What it learns it by is written
after the code, and so after the request; by then it is asked to look, and looks before it runs other code than it is
in the middle of.  Which frames have code that another processor translated, and how stores there are noticed, is
the engine's (ASK_WATCH_CODE).

A mailbox has room for a few requests.  Where more come, because their processor sleeps, they become one: everything.
"""
