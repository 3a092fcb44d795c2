"""Published models that asset3d knows by name."""
from dataclasses import dataclass

from asset3d.models.policy import COMMERCIAL, NON_COMMERCIAL, RESEARCH_ONLY

OPENRAIL, OPENRAIL_PLUS = "CreativeML OpenRAIL-M", "CreativeML OpenRAIL++-M"


@dataclass(frozen=True)
class Published:
    """A model that others publish: where it is, what it is, and what its licence allows."""

    prior: str
    """`type:` of the prior that runs it."""
    source: str
    """Repository of the Hugging Face hub."""
    licence: str
    use: str
    """commercial, non-commercial or research-only; licences of the OpenRAIL family forbid some uses besides."""
    gigabytes: float
    """Size of what is downloaded, rounded."""
    file: str | None = None
    """A checkpoint in that repository, to be converted; None where the repository is a folder in diffusers format."""
    alternative: str | None = None
    """What to use instead where the licence forbids."""
    compat: str | None = None
    """Named quirk that the prior has to imitate."""


PUBLISHED = {
    "zero123-xl": Published("zero123", "cvlab/zero123-weights", OPENRAIL, COMMERCIAL, 15.5, "zero123-xl.ckpt"),
    "zero123-105000": Published("zero123", "cvlab/zero123-weights", OPENRAIL, COMMERCIAL, 15.5, "105000.ckpt"),
    "zero123-165000": Published("zero123", "cvlab/zero123-weights", OPENRAIL, COMMERCIAL, 15.5, "165000.ckpt"),
    "stable-zero123": Published(
        "zero123", "stabilityai/stable-zero123", "Stability AI Non-Commercial Research Community", NON_COMMERCIAL, 8.6,
        "stable_zero123.ckpt", alternative="zero123-xl", compat="stable_zero123"),
    "stable-diffusion-1-5": Published(
        "text_image", "stable-diffusion-v1-5/stable-diffusion-v1-5", OPENRAIL, COMMERCIAL, 4.3),
    "stable-diffusion-2-1": Published("text_image", "stabilityai/stable-diffusion-2-1", OPENRAIL_PLUS, COMMERCIAL, 5.2),
    "stable-diffusion-2-depth": Published(
        "depth_image", "stabilityai/stable-diffusion-2-depth", OPENRAIL_PLUS, COMMERCIAL, 5.7),
    "stable-diffusion-xl": Published(
        "text_image", "stabilityai/stable-diffusion-xl-base-1.0", OPENRAIL_PLUS, COMMERCIAL, 13.9),
    "deepfloyd-if": Published(
        "text_image", "DeepFloyd/IF-I-XL-v1.0", "DeepFloyd IF Licence", RESEARCH_ONLY, 40.0,
        alternative="stable-diffusion-xl"),
}
