"""A frame with a head of one's own: the checksum that it asks for filled in, a VLAN tag put in or taken away.

The head is kept in the middle of `bytes`, TAG_BYTES from its beginning: a tag is put in by moving the two addresses
down.  It is TAG_BYTES longer than HEAD, so that HEAD bytes are there when a tag is gone.
"""
