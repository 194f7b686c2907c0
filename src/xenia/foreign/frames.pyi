"""A domain's granted frames and event channels, for compiled backends."""

class Frames:
    """A domain that granted nothing."""

    ...
