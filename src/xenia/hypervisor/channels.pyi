"""A domain's event channels, for who looks at them."""

from xenia.hypervisor.channel_info import ChannelInfo
from xenia.hypervisor.domain import DomainHandle

def event_channels(handle: DomainHandle) -> list[ChannelInfo]:
    """Those that are not free, by port.

    Precondition: the domain is paused.
    """
    ...
