"""A domain's granted frames and event channels, for compiled backends."""

from xenia.machine.errand import Errand

class Frames:
    """A domain that granted nothing."""
    def lend(self, errand: Errand) -> None:
        """Have it done on the threads of the domain's vcpus too, while they are idle, where there is room for it.  It
        is the caller's to keep until it is taken back."""
        ...
    def take_back(self, errand: Errand) -> None:
        """It is neither begun nor under way there any more.  Again does nothing."""
        ...
