"""What the tests of adapters share."""

from __future__ import annotations

import pytest

from tests.adapters import far


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> far.Trust:
    """Certificates of an authority of our own."""
    return far.trust(tmp_path_factory.mktemp("certificates"))
