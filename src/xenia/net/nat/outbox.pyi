"""Frames on their way from the stack to the guests.

The stack makes frames in the middle of what it does, with its lock held, and nobody may be called then.  So they wait
here, each with a copy of its bytes, until the lock is let go, and leave in batches.
"""
