"""A domain's event channels, for who looks at them."""

from libc.stdint cimport uint32_t

from xenia.domain.channels cimport event_channel
from xenia.domain.domain cimport Domain
from xenia.domain.event_state cimport ECS_FREE, EventChannel
from xenia.domain.fifo cimport fifo_is_masked, fifo_is_pending
from xenia.domain.two_level cimport two_level_is_masked, two_level_is_pending
from xenia.hypervisor.domain cimport DomainHandle
from xenia.machine.lock cimport lock, unlock

from xenia.hypervisor.channel_info import ChannelInfo, ChannelKind


def event_channels(DomainHandle handle) -> list[ChannelInfo]:
    """Those that are not free, by port.

    Precondition: the domain is paused.
    """
    cdef Domain *domain = handle.domain
    cdef EventChannel channel
    cdef uint32_t port
    cdef bint posted
    found = []
    if domain.life.is_dying or domain.directory == NULL:
        return found
    for port in range(1, domain.events.valid_ports):
        with nogil:
            lock(&domain.directory.lock)
            channel = event_channel(domain, port)[0]
            unlock(&domain.directory.lock)
        if channel.state == ECS_FREE:
            continue
        posted = domain.events.buckets[port >> 6].mailbox >> (port & 63) & 1 != 0
        if domain.events.fifo:
            pending, masked = fifo_is_pending(domain, port), fifo_is_masked(domain, port)
        else:
            pending, masked = two_level_is_pending(domain, port), two_level_is_masked(domain, port)
        found.append(ChannelInfo(
            port=port,
            kind=ChannelKind(channel.state),
            pending=bool(pending or posted),
            masked=bool(masked),
            vcpu=channel.notify_vcpu,
            virq=channel.virq,
            remote_domid=channel.remote_domid,
            remote_port=channel.remote_port,
        ))
    return found
