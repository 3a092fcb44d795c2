"""Gaussian splats, projected and blended front to back (Kerbl et al. 2023)."""
from typing import Literal

from pydantic import Field

from asset3d.ops.gaussian import rasterize_gaussians
from asset3d.registry import Config, register
from asset3d.renderer.base import Renderer
from asset3d.scene.camera import Camera
from asset3d.scene.rendering import Rendering
from asset3d.scene.splats import Splats


class SplatRendererConfig(Config):
    type: Literal["splat"] = "splat"
    antialiased: bool = False
    """Gaussians smaller than a pixel become fainter instead of larger (Yu et al. 2024). Other viewers must do the same
    to show the same."""
    near: float = Field(0.01, gt=0)
    """Gaussians whose centre is nearer to the camera are not drawn."""
    dilation: float = Field(0.3, ge=0)
    """Added to the variance of every Gaussian in the picture, in pixels squared. `evaluate`, `convert` and most other
    viewers draw with the default of this and of `alpha_max`."""
    alpha_max: float = Field(0.99, gt=1 / 255, lt=1)
    """What one Gaussian hides of what is behind it, at most."""


@register("renderer", SplatRendererConfig)
class SplatRenderer(Renderer):
    """Renders a representation with `splats()`."""

    unit = "images"
    needs = "splats"

    def __init__(self, config: SplatRendererConfig):
        self.config = config

    @classmethod
    def gives_of(cls, config: SplatRendererConfig) -> tuple[str, ...]:
        return ("images", "means_2d", "radii", "opacities", "scales")

    def render(self, representation, camera: Camera) -> Rendering:
        return render_splats(representation.splats(), camera, **self.config.model_dump(exclude={"type"}))


def render_splats(splats: Splats, camera: Camera, near: float = 0.01, antialiased: bool = False, dilation: float = 0.3,
                  alpha_max: float = 0.99) -> Rendering:
    """Whole images of Gaussians. Extras: where their centres lie in the images, `means_2d` (B, N, 2), whose gradient is
    retained; `radii` (B, N, 2), 0 where culled; `opacities` and `scales`."""
    drawn = rasterize_gaussians(splats.means, splats.quats, splats.scales, splats.opacities, splats.harmonics,
                                camera.world_to_camera(), camera.intrinsics, (camera.height, camera.width),
                                sh_degree=splats.degree, near=near, antialiased=antialiased, dilation=dilation,
                                alpha_max=alpha_max)
    means_2d = drawn.projected.means_2d
    if means_2d.requires_grad:
        means_2d.retain_grad()
    return Rendering(drawn.color, drawn.alpha, drawn.depth, None,
                     {"means_2d": means_2d, "radii": drawn.projected.radii, "opacities": splats.opacities,
                      "scales": splats.scales})
