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
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Folders of the tests' own: plans do not depend on what the user has calibrated, nothing is written to a home
    that may not be there, or may not be written to."""
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "CONFIG", "STATE"):
        patch.setenv(f"XDG_{name}_HOME", str(tmp_path_factory.mktemp(name.lower())))
