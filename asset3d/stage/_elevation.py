"""From how far above a photo was taken, where nobody says."""
from asset3d.scene.views import Views

USUAL_ELEVATION = 15.0
"""Degrees: products and toys on a table are photographed from 10 to 20 degrees above. threestudio assumes 5."""


def estimated_elevation(views: Views, model: str | None = None) -> tuple[float, str]:
    """Degrees above the horizon of the first view, and how that was found.

    Args:
        views: The photos, prepared as if their elevation were 0.
        model: What will be asked about other views of the object.
    """
    return USUAL_ELEVATION, "the usual one, as nothing tells"
