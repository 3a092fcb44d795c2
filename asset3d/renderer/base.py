"""What a renderer is: it turns a representation and rays, or cameras, into a Rendering."""
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.representation.base import Representation
from asset3d.scene.camera import Camera
from asset3d.scene.rendering import Rendering

RAYS_AT_ONCE = 1 << 14
"""Rays of a whole image that are rendered together: what bounds the memory."""


@dataclass(frozen=True)
class Rays:
    """R rays through pixels."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Unit length."""
    depth_scale: Float[Tensor, "R 1"]
    """Depth along the optical axis per unit of ray length."""

    @staticmethod
    def of_camera(camera: Camera) -> "Rays":
        """The rays through all pixels of all cameras, in row-major order."""
        origins, directions = camera.rays()
        scale = (directions * camera.forward[:, None, None]).sum(-1, keepdim=True)
        return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), scale.reshape(-1, 1))

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index) -> "Rays":
        return Rays(self.origins[index], self.directions[index], self.depth_scale[index])


class Renderer(Protocol):
    """`unit` says what a renderer is trained on: single rays of all views, or whole views."""

    unit: ClassVar[Literal["rays", "images"]]
    needs: ClassVar[str | None] = None
    """What a representation must give to be drawn by it: `sdf`, `density`, `surface`; None: not known."""

    @classmethod
    def gives_of(cls, config) -> tuple[str, ...] | None:
        """What losses may ask for besides colour, alpha and depth, with this config: `images`, `normal`,
        `sdf_gradient`, `neighbour_normals`, `vertices`, ...; None: not known."""
        return None

    def render_rays(self, representation: Representation, rays: Rays, generator: torch.Generator | None) -> Rendering:
        """Render single rays (unit "rays"); `generator` jitters the samples, None means their centres."""

    def render(self, representation: Representation, camera: Camera) -> Rendering:
        """Render whole images, (B, H, W, C)."""


def render_in_chunks(render_rays, camera: Camera) -> Rendering:
    """Whole images from a function that renders rays; no gradients."""
    rays = Rays.of_camera(camera)
    with torch.no_grad():
        parts = [render_rays(rays[i:i + RAYS_AT_ONCE]) for i in range(0, len(rays), RAYS_AT_ONCE)]
    shape = (len(camera), camera.height, camera.width, -1)

    def join(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values).reshape(shape)

    return Rendering(join("color"), join("alpha"), join("depth"), join("normal"))
