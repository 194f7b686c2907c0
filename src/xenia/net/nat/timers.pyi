"""The timers that libslirp asks for: one, so far, for its router's advertisements."""
