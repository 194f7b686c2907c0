"""The store, from the inside out; each noun knows only those before it.

tree, path, permissions, quota, watch, transaction    what there is, as plain values
Connection      what the store keeps for one client: who it is, its watches, transactions and waiting events
Store           the tree and the rules of who may do what with it, for connections; `reply` is the protocol over it
Conversation    a connection with its two streams of bytes, whatever carries them
GuestClient     a domain as a client: a conversation carried by the page that it shares (StoreRing)
Transport       what the server drives: a domain's page, a client's socket, or nothing at all within this process
Server          the thread that serves all transports, and who may use the store on a thread of its own
Client          the store as a toolstack of this process uses it; it is a client like the others, with domain 0's rights

So one peer is a transport to the server, a conversation to its transport, and a connection to the store.  `client` is
the peer itself, and `guest` a client that is a domain.
"""
