"""Checksums, and what a guest is told of a packet that goes no further.

Nobody waits for something that will not be: TCP gets a reset, as of a port where nothing listens (RFC 9293, 3.10.7.1),
UDP "port unreachable", and everything else "administratively prohibited" (RFC 1812, 5.2.7.1; RFC 4443, 3.1).
"""
