"""Frames cut to what a link or a guest takes: TCP segments out of a GSO frame, checksums filled in.

Each segment has the frame's headers, its own lengths, IPv4 identification (one more each), sequence number and
checksums; FIN and PSH are the last one's, CWR is the first one's (RFC 3168, 6.1.2; Linux's tcp_gso_segment).  A taker
of GSO gets frames of several segments, each as a GSO frame of its own.

What the frame's virtio_net_hdr says is held against its headers: lengths and offsets are those of the headers, and the
size of a segment has a lower bound.  The payload may change while it is summed; then the checksum is wrong, which is
its guest's affair.  So a frame costs 1,400 frames at the most, made BATCH at a time in memory that the caller has.
"""
