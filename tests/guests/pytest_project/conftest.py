"""A project that tests programs in guests."""

import pytest


@pytest.fixture(scope="session")
def xenia_options() -> dict[str, object]:
    return {"memory": "128M", "net": "none"}
