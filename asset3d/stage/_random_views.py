"""Random cameras around the object, and renderings from them, for losses that need no photo."""
import math
from dataclasses import replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from asset3d.registry import Config
from asset3d.renderer.base import Rays
from asset3d.scene.camera import Camera, orbit
from asset3d.scene.rendering import Novel, Rendering
from asset3d.scene.rigs import ZERO123_DISTANCE, ZERO123_FOV
from asset3d.schedule import Schedule, Values, constant

Range = tuple[float, float]
BACKGROUNDS = {"white": 1.0, "black": 0.0, "grey": 0.5}


class RandomCameraConfig(Config):
    """Where random views are rendered from: cameras that look at the object's centre."""

    azimuth: Range = (-180.0, 180.0)
    """Degrees; 0 is the front. The views of one step are spread evenly over it."""
    elevation: Range = (-30.0, 75.0)
    """Degrees above the horizon; evenly over that band of the sphere."""
    distance: Range = (ZERO123_DISTANCE, ZERO123_DISTANCE)
    """From the object's centre; the object is 1 long."""
    fov: float = Field(ZERO123_FOV, gt=1, lt=150)
    """Vertical field of view in degrees."""
    size: Annotated[Schedule, Values(type=int, ge=8)] = constant(64)
    """Rows and columns over the steps."""
    count: Annotated[Schedule, Values(type=int, ge=1)] = constant(4)
    """Views per step, over the steps."""
    background: Literal["white", "black", "grey", "random"] = "white"
    """What is put behind the object; the views that Zero-1-to-3 was trained on are in front of white."""

    @field_validator("azimuth", "elevation", "distance")
    @classmethod
    def _in_order(cls, given: Range, info) -> Range:
        low, high = given
        least, most = {"azimuth": (-360, 360), "elevation": (-90, 90), "distance": (0.1, 100)}[info.field_name]
        if not least <= low <= high <= most:
            raise ValueError(f"must be [low, high] between {least} and {most}, got [{low:g}, {high:g}]")
        return given

    def draw(self, step: int, generator: torch.Generator, device: torch.device) -> Novel:
        """The cameras of one step."""
        count, size = self.count(step), self.size(step)
        share = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        azimuth = self.azimuth[0] + (self.azimuth[1] - self.azimuth[0]) * share
        low, high = (math.sin(math.radians(e)) for e in self.elevation)
        height = low + (high - low) * torch.rand(count, generator=generator)
        distance = self.distance[0] + (self.distance[1] - self.distance[0]) * torch.rand(count, generator=generator)
        camera = orbit(azimuth, torch.rad2deg(torch.arcsin(height.clamp(-1, 1))), distance, self.fov, size)
        return Novel(camera.to(device), background_of(self.background, generator).to(device), generator)


def background_of(name: str, generator: torch.Generator) -> Float[Tensor, "3"]:
    """A named colour, or a random one."""
    return torch.rand(3, generator=generator) if name == "random" else torch.full((3,), BACKGROUNDS[name])


def render_images(renderer, representation, camera: Camera, generator: torch.Generator) -> Rendering:
    """Whole images with gradients, whatever the renderer is trained on."""
    if renderer.unit == "images":
        return renderer.render(representation, camera)
    rendering = renderer.render_rays(representation, Rays.of_camera(camera), generator)
    shape = (len(camera), camera.height, camera.width, -1)
    as_images = lambda x: None if x is None else x.reshape(shape)
    return replace(rendering, **{name: as_images(getattr(rendering, name))
                                 for name in ("color", "alpha", "depth", "normal")})
