"""Where a bridge's frames go: the part of it that is on their way.

A batch has a plan, which is made under the bridge's lock: for each frame its fate, and which ports are entered for it.
Frames of the same fate that follow on each other are a run, and delivered in one call.
"""

class Switch:
    """What a bridge is to the frames that go through it."""
    def __init__(self) -> None: ...
