"""Where the headers of a frame are: Ethernet, 802.1Q and 802.1ad, ARP, IPv4, IPv6 and its extensions, TCP, UDP, ICMP.

Only the bytes that nobody changes are looked at (frame.pxd), and nothing is believed that contradicts the frame's
length: a header that is told of is there.  Sources: IEEE 802.1Q; RFC 826, 791, 8200, 4302 (AH), 9293, 768.
"""
