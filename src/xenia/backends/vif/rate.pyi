"""How fast a card may send: so many bytes in a period, whichever of its queues they come from.

What was sent moves a time ahead, as much as it takes at the rate; while that is further ahead of the clock than a
period, nothing more is sent.  One word, so any thread may.
"""

class Rate:
    """`credit` bytes in each `period` of so many microseconds; 0: as many as it likes."""
    def __init__(self, credit: int = 0, period: int = 50000) -> None: ...
