"""Which of a bridge's ports an address was seen at: a table with room for what every port may have.

A port that has as many as it may forgets its own, so that no guest can have another's forgotten.  Buckets are chosen
with a secret, so that none can fill one either.  Whoever calls holds the bridge's lock.
"""

class Addresses:
    """The table.  `age`: after how many seconds an address is forgotten that sends nothing."""
    def __init__(self, age: float) -> None: ...
