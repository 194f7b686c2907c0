"""The internet checksum: of bytes, of a frame's parts, as a frame asks for it, and whether it is right.

Eight bytes are added at a time, with the carry, in four chains that do not wait for each other; a sum of 64 bits folds
to the same 16 as one of 16-bit words does (RFC 1071, 2).
"""
