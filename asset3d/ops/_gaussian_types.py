"""What the functions of ops/gaussian.py take and return; letters in shapes as there."""
from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor

ALPHA_MIN = 1 / 255
MAX_INTERSECTIONS = 2**28
"""Of a Gaussian and a tile, unless more are asked for; they take 6 GB, and with the gradient of 9 channels 17 GB more,
of 25 channels twice that."""
MOST_CHANNELS = 128
"""What is blended at once; more of them go in groups."""
# As csrc/gaussian/gaussian.h and blend_math.h have them:
TILE, CHUNK, GEOMETRY = 16, 256, 8


class ProjectedGaussians(NamedTuple):
    """Gaussians in the images of B cameras; zero where `radii` says that one is not drawn."""

    means_2d: Float[Tensor, "B N 2"]
    """Centres in pixels (column, row). After `means_2d.retain_grad()` its gradient drives densification."""
    conics: Float[Tensor, "B N 3"]
    """Inverse covariances in pixels: xx, xy, yy."""
    depths: Float[Tensor, "B N"]
    """Distances along the optical axis."""
    opacities: Float[Tensor, "B N"]
    """What antialiasing has left of the opacities; else the opacities."""
    radii: Float[Tensor, "B N 2"]
    """Half the width and height, in pixels, of what shows; 0 where nothing does, -1 where the Gaussian is absurd."""

    @property
    def visible(self) -> Bool[Tensor, "B N"]:
        """Which Gaussians are drawn."""
        return self.radii[..., 0] > 0

    @property
    def n_culled(self) -> Int64[Tensor, "B"]:
        """How many are not drawn: behind or beside the camera, too faint, or absurd."""
        return (~self.visible).sum(-1)

    @property
    def n_absurd(self) -> Int64[Tensor, "B"]:
        """How many are not drawn because a value is not finite, their shape has no inverse, or they span 1e7 pixels."""
        return (self.radii[..., 0] < 0).sum(-1)


class SplatRendering(NamedTuple):
    """What :func:`rasterize_gaussians` returns."""

    color: Float[Tensor, "B H W C"]
    alpha: Float[Tensor, "B H W 1"]
    depth: Float[Tensor, "B H W 1"]
    """Expected distance along the optical axis of what is seen, 0 where nothing is."""
    projected: ProjectedGaussians
