"""VLAN tags that come or go on the way through a bridge: the frame is delivered with a head of the bridge's own."""
