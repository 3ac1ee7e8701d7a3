"""What all tests share: nothing of the user's own machine gets in, and nothing depends on how busy it is."""

from __future__ import annotations

import hypothesis
import pytest

# The same examples in every run, however slow the machine is.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache folder of the tests' own, so that plans do not depend on what the user has calibrated."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
