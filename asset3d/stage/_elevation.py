"""From how far above a photo was taken, where nobody says."""
from asset3d.models import card_of, embedded, folder_of
from asset3d.prior._elevation import ElevationNet, centred
from asset3d.scene.views import Views

MODEL = "toy-elevation"
USUAL_ELEVATION = 15.0
"""Degrees, where that model is not there: products and toys on a table are photographed from 10 to 20 degrees above.
threestudio assumes 5."""


def estimated_elevation(views: Views) -> tuple[float, str]:
    """Degrees above the horizon of the first view, and how that was found.

    Args:
        views: The photos, prepared as if their elevation were 0.
    """
    if MODEL not in embedded():
        return USUAL_ELEVATION, "the usual one, as nothing tells"
    folder = folder_of(MODEL)
    network = ElevationNet.load(folder)
    error = card_of(folder)["curve"][-1]["usual error"]
    guess = float(network(centred(views.on_white[:1]))[0])
    return guess, f"estimated by {MODEL}, which on toys is off by {error:.0f} degrees"
