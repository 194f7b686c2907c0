"""Segments made one GSO frame again: what Linux's GRO does, within one batch.

A guest under emulation pays for each frame, and for each byte that it must sum.  So consecutive TCP segments of a flow
become one frame of up to 64 KB, in which their payloads stay where they are; and whatever checksum was verified here is
not verified again.

The rules are those of Linux (net/ipv4/tcp_offload.c, tcp_gro_receive; af_inet.c, inet_gro_receive): everything of the
headers is alike but lengths, checksums, the identification (which counts up, or stays where fragmenting is forbidden;
or is always 0, as passt's is, which Linux would leave alone),
sequence numbers (which follow) and PSH and FIN.  A segment that is shorter, or has one of these, is the last of its
frame; one with SYN, RST, URG or CWR is nobody's, nor is one of less than
HEAD bytes.  Cutting such a frame makes the same segments again (segment.pyx), but
for identifications that stayed.
"""
