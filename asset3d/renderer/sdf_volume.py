"""Volume rendering of signed distance fields (NeuS, Wang et al. 2021, equation 13)."""
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from asset3d.ops.volume import RaySamples
from asset3d.registry import Config, register
from asset3d.renderer.base import Rays, Renderer, render_in_chunks
from asset3d.renderer.volume import color_of, composite, march, positions, visible
from asset3d.scene.camera import Camera
from asset3d.scene.rendering import Rendering


class SdfVolumeConfig(Config):
    type: Literal["sdf_volume"] = "sdf_volume"
    step_size: float = Field(1 / 256, gt=0, le=0.1)
    """Least distance between samples along a ray; up to twice as far while the density is still wide."""
    eikonal_points: int = Field(3072, ge=0)
    """Points per step at which the gradient of the distance is given to the eikonal loss; a third lies anywhere, the
    others are pairs of neighbours near the surface, whose normals are given to the smoothness loss."""
    neighbour_distance: float = Field(0.004, gt=0)
    """Standard deviation, per axis, of the step from a point to its neighbour; the object is 1 long."""
    normals: bool = False
    """Also render analytic normals in training (needed by the normal loss; about twice the time)."""


@register("renderer", SdfVolumeConfig)
class SdfVolumeRenderer(Renderer):
    """Renders a representation with `occupancy`, `sharpness`, `sdf`, `gradient`, and `color`."""

    unit = "rays"
    needs = "sdf"

    def __init__(self, config: SdfVolumeConfig):
        self.config = config

    @classmethod
    def gives_of(cls, config: SdfVolumeConfig) -> tuple[str, ...]:
        given = ("sdf_gradient", "neighbour_normals") if config.eikonal_points else ()
        return (*given, "normal") if config.normals else given

    def render_rays(self, field, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        samples = march(field, rays, self._spacing(field), generator)
        with torch.no_grad():
            opacity = section_alpha(field.sdf(positions(rays, samples)), samples, field.sharpness)
        samples, colored = visible(samples, opacity)
        x = positions(rays, samples)
        sdf, features = field(x)
        alpha = section_alpha(sdf, samples, field.sharpness)
        normal = normalize(field.gradient(x), dim=-1) if self.config.normals else None
        extras = {}
        if generator is not None and self.config.eikonal_points:
            points, n_pairs = self._eikonal_points(x, generator)
            extras["sdf_gradient"] = gradient = field.gradient(points)
            extras["neighbour_normals"] = normalize(gradient[:2 * n_pairs], dim=-1).unflatten(0, (2, n_pairs))
        return composite(samples, rays, alpha, color_of(field, x, features, colored), normal, **extras)

    def _spacing(self, field) -> float:
        """Wide densities need fewer samples: about one per width of the logistic."""
        return min(max(1.2 / float(field.sharpness), self.config.step_size), 2 * self.config.step_size)

    def _eikonal_points(self, x: Float[Tensor, "S 3"], generator: torch.Generator) -> tuple[Float[Tensor, "E 3"], int]:
        """P points near the surface, a neighbour of each, and points anywhere; and P."""
        anywhere = torch.rand(self.config.eikonal_points // 3, 3, generator=generator) - 0.5
        n_pairs = min((self.config.eikonal_points - len(anywhere)) // 2, len(x))
        picked = torch.randint(max(len(x), 1), (n_pairs,), generator=generator)
        step = torch.randn(n_pairs, 3, generator=generator) * self.config.neighbour_distance
        near = x[picked.to(x.device)]
        return torch.cat([near, near + step.to(x.device), anywhere.to(x.device)]), n_pairs

    def render(self, field, camera: Camera) -> Rendering:
        return render_in_chunks(lambda rays: self.render_rays(field, rays), camera)


def section_alpha(sdf: Float[Tensor, "S"], samples: RaySamples, sharpness: Tensor) -> Float[Tensor, "S"]:
    """Opacity of each sample's section of its ray.

    NeuS's equation 13 wants the distance at both ends of a section. They are interpolated between the samples of
    neighbouring sections, and extrapolated at the ends of a run, so that no normals are needed.
    """
    if len(sdf) < 2:
        return torch.zeros_like(sdf)
    joined = (samples.ray[1:] == samples.ray[:-1]) & ((samples.t_start[1:] - samples.t_end[:-1]).abs() < 1e-5)
    middle = (sdf[1:] + sdf[:-1]) / 2
    half = torch.where(joined, (sdf[1:] - sdf[:-1]) / 2, 0)
    no, zero = joined.new_zeros(1), half.new_zeros(1)
    has_before, has_after = torch.cat([no, joined]), torch.cat([joined, no])
    slope_before, slope_after = torch.cat([zero, half]), torch.cat([half, zero])
    middle_before, middle_after = torch.cat([zero, middle]), torch.cat([middle, zero])
    start = torch.where(has_before, middle_before, sdf - slope_after)
    end = torch.where(has_after, middle_after, sdf + slope_before)
    before, after = torch.sigmoid(start * sharpness), torch.sigmoid(end * sharpness)
    return ((before - after) / (before + 1e-6)).clamp(0, 1)
