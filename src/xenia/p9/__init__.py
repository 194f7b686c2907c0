"""A file server that speaks 9P2000.L, for one folder of the host's.  Knows nothing of Xen: it is asked over sockets."""
