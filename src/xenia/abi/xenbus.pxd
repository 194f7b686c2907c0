# public/io/xenbus.h: the states of either end of a split device.
cdef enum:
    XenbusStateUnknown = 0          # no such key: the end does not exist
    XenbusStateInitialising = 1
    # early initialisation done, waiting for the peer's information or hotplug scripts
    XenbusStateInitWait = 2
    XenbusStateInitialised = 3      # waiting for a connection from the peer
    XenbusStateConnected = 4
    XenbusStateClosing = 5          # because of an error or an unplug event
    XenbusStateClosed = 6
    XenbusStateReconfiguring = 7
    XenbusStateReconfigured = 8
