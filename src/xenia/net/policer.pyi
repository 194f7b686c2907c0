"""How much one guest may send another that is busy with others: as much as is answered, and a little more.

A guest's kernel has work with each frame that is for it, wanted or not, so that a neighbour who sends it short frames
without end has its time.  A switch cannot know what a guest wants; but the guest says so, by answering: TCP is
acknowledged, a request has its reply.  What nobody answers is limited, while its receiver has a conversation with
others, and what is beyond the limit is dropped.  Of who sends twice as much and more, little passes any more, for each
frame that does is one more interrupt for its receiver; and unless others take what he sends, he waits: his card does,
as for his share of the loop's time (share.pyx), so that his processor rests, and for so long at once that what he sends
comes in few batches.  Without such a conversation nothing is limited: a stream of datagrams that nobody answers is all
that the guest is there for.

An answer is no ICMP, no reset and neither of the first two segments of a connection: a guest says these to whoever asks
for them.

All is a matter of the times that are handed in; there are no clocks here.  It is guarded by the bridge's lock.
"""

from xenia.net.share import Share

class Policer:
    """Of one guest's card; its peers are known by their numbers.

    share   of the loop's time, of that guest; None: of whoever hands in the times

    `takes_all`: the guest is to be sent what it does not answer, however much.
    """

    takes_all: bool
    def __init__(self, share: Share | None = None) -> None: ...
    def allows(self, peer: int, now: int) -> bool:
        """Whether a frame that comes from that peer, at that time, may go to the guest."""
        ...
    def answered(self, peer: int, now: int) -> None:
        """The guest answered it."""
        ...
    def lost(self, now: int) -> int:
        """A frame that the guest sent was not allowed: until when the guest is to wait; 0: not at all."""
        ...
