"""Volume rendering of density fields (NeRF; Mildenhall et al. 2020, equation 3) with an occupancy grid."""
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from asset3d.ops.volume import RaySamples, composite_rays, march_rays
from asset3d.registry import Config, register
from asset3d.renderer.base import Rays, Renderer, render_in_chunks
from asset3d.scene.camera import Camera
from asset3d.scene.rendering import Rendering

BOX = ((-0.5,) * 3, (0.5,) * 3)
VISIBLE = 1e-3
"""Samples behind more than 1 - VISIBLE of opacity are not evaluated again for gradients."""
COLORED = 1e-4
"""Samples with a smaller weight get no colour: black, which changes a pixel by less than this per sample."""

FIXED_POINT = 2.0**40
"""One, where weights are summed as integers: room for 2^23 rays, and no weight that matters is lost."""


class VolumeConfig(Config):
    type: Literal["volume"] = "volume"
    step_size: float = Field(1 / 256, gt=0, le=0.1)
    """Distance between samples along a ray; the object is 1 long."""
    neighbour_points: int = Field(0, ge=0)
    """Pairs of neighbours on the surface whose normals are given to the smoothness loss; each costs as much as a few
    samples. Above 0 only with fields that have a `gradient`."""
    neighbour_distance: float = Field(0.01, gt=0)
    """Standard deviation, per axis, of the step from a point to its neighbour."""


@register("renderer", VolumeConfig)
class VolumeRenderer(Renderer):
    """Renders a representation with `occupancy`, `density`, and `color`."""

    unit = "rays"
    needs = "density"

    def __init__(self, config: VolumeConfig):
        self.config = config

    @classmethod
    def gives_of(cls, config: VolumeConfig) -> tuple[str, ...]:
        return ("neighbour_normals",) if config.neighbour_points else ()

    def render_rays(self, field, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        samples = march(field, rays, self.config.step_size, generator)
        length = samples.t_end - samples.t_start
        with torch.no_grad():
            opacity = 1 - torch.exp(-field.density(positions(rays, samples)) * length)
        samples, colored = visible(samples, opacity)
        x = positions(rays, samples)
        density, features = field(x)
        alpha = 1 - torch.exp(-density * (samples.t_end - samples.t_start))
        rendering = composite(samples, rays, alpha, color_of(field, x, features, colored))
        if generator is not None and self.config.neighbour_points:
            rendering.extras.update(self._neighbours(field, x, rendering.extras["weights"].detach(), generator))
        return rendering

    def _neighbours(self, field, x: Float[Tensor, "S 3"], weights: Float[Tensor, "S"],
                    generator: torch.Generator) -> dict[str, Tensor]:
        """Normals at samples, drawn as they count in the picture, and at a neighbour of each."""
        total = running_total(weights)
        share = torch.rand(self.config.neighbour_points if len(x) else 0, generator=generator, dtype=torch.float64)
        picked = torch.searchsorted(total, share.to(x.device) * total[-1:]).clamp(max=len(x) - 1)
        step = torch.randn(len(picked), 3, generator=generator) * self.config.neighbour_distance
        points = torch.cat([x[picked], x[picked] + step.to(x.device)])
        return {"neighbour_normals": normalize(field.gradient(points), dim=-1).unflatten(0, (2, len(picked)))}

    def render(self, field, camera: Camera) -> Rendering:
        return render_in_chunks(lambda rays: self.render_rays(field, rays), camera)


def march(field, rays: Rays, step_size: float, generator: torch.Generator | None) -> RaySamples:
    """Samples in the occupied cells of a field; jittered by one offset per ray when a generator is given."""
    count, device = len(rays), rays.origins.device
    offsets = torch.full((count,), 0.5) if generator is None else torch.rand(count, generator=generator)
    lower, upper = (torch.tensor(corner, device=device) for corner in BOX)
    return march_rays(rays.origins, rays.directions, field.occupancy.occupied, lower, upper, step_size,
                      offsets.to(device))


def positions(rays: Rays, samples: RaySamples) -> Tensor:
    """Midpoints of the samples, (S, 3)."""
    t = (samples.t_start + samples.t_end)[:, None] / 2
    return rays.origins[samples.ray] + t * rays.directions[samples.ray]


def visible(samples: RaySamples, alpha: Tensor) -> tuple[RaySamples, Tensor]:
    """The samples before each ray's light is used up (those behind cannot matter), and which of them deserve colour."""
    if not len(alpha):
        return samples, alpha > 0
    _, _, weights = composite_rays(alpha, alpha.new_zeros(len(alpha), 1), samples.first)
    total = running_total(weights)
    start = torch.cat([total.new_zeros(1), total])[samples.first[:-1]]
    keep = 1 - (total - weights - start[samples.ray]) > VISIBLE
    kept = torch.cumsum(keep.long(), 0)
    first = torch.cat([kept.new_zeros(1), kept])[samples.first]
    return RaySamples(samples.t_start[keep], samples.t_end[keep], samples.ray[keep], first), weights[keep] > COLORED


def running_total(weights: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Sums of all weights up to each, in double precision.

    On CUDA they are sums of integers: torch has no deterministic sum of floating numbers there, and refuses it.
    """
    if weights.is_cuda:
        return torch.cumsum((weights.double() * FIXED_POINT).round().long(), 0) / FIXED_POINT
    return torch.cumsum(weights.double(), 0)


def color_of(field, x: Tensor, features: Tensor, chosen: Tensor) -> Tensor:
    """Colours of the chosen samples, black for the others, (S, 3): most sections of a ray are nearly transparent."""
    index = torch.nonzero(chosen)[:, 0]
    color = field.color(x[index], features[index])
    return color.new_zeros(len(x), 3).index_copy(0, index, color)


def composite(samples: RaySamples, rays: Rays, alpha: Tensor, color: Tensor, normal: Tensor | None = None,
              **extras: Tensor) -> Rendering:
    """Blend samples front to back into a Rendering of rays."""
    t = (samples.t_start + samples.t_end)[:, None] / 2
    values = torch.cat([color, t] + ([] if normal is None else [normal]), -1)
    blended, opacity, weights = composite_rays(alpha, values, samples.first)
    opacity = opacity[:, None]
    seen = opacity > 1e-4
    depth = torch.where(seen, blended[:, 3:4] / opacity.clamp(min=1e-4), 0) * rays.depth_scale
    if normal is not None:
        normal = torch.nn.functional.normalize(blended[:, 4:7], dim=-1)
    return Rendering(blended[:, :3], opacity, depth, normal, {"weights": weights, **extras})
