"""Where tests find real data."""
import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """A path in the folder of real test data beside the checkout (ASSET3D_SHARED overrides where that is).

    A test that needs missing data is skipped; with CI=true it fails, so that a skip is never mistaken for a pass.
    """
    root = Path(os.environ.get("ASSET3D_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"real test data is missing: {path}")
    return path
