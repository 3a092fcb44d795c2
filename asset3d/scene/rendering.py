"""What renderers return and losses compare with. Shapes: "..." is (B, H, W) for images or (R,) for rays."""
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from asset3d.scene.camera import Camera


@dataclass(frozen=True)
class Rendering:
    """One rendering of a representation."""

    color: Float[Tensor, "... 3"]
    """sRGB multiplied with alpha: add a background with `over`."""
    alpha: Float[Tensor, "... 1"]
    depth: Float[Tensor, "... 1"] | None = None
    """Along the optical axis, 0 where there is nothing."""
    normal: Float[Tensor, "... 3"] | None = None
    """World space, unit, 0 where there is nothing."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """By-products that single losses ask for by name: `sdf_gradient`, `vertices`, `faces`,
    `neighbour_normals` (2, P, 3) with `neighbour_weights` (P,), ..."""

    def over(self, background: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
        """The colour in front of a background."""
        return self.color + (1 - self.alpha) * background


@dataclass(frozen=True)
class Target:
    """What a rendering should look like: pixels of posed photos."""

    color: Float[Tensor, "... 3"]
    """sRGB, straight."""
    alpha: Float[Tensor, "... 1"]
    background: Float[Tensor, "3"]
    """The colour that both sides are compared in front of."""
    view: Int64[Tensor, "..."]
    """Index of the view that each pixel belongs to."""
    valid: Bool[Tensor, "... 1"] | None = None
    depth: Float[Tensor, "... 1"] | None = None
    normal: Float[Tensor, "... 3"] | None = None

    def over(self) -> Float[Tensor, "... 3"]:
        return self.color * self.alpha + (1 - self.alpha) * self.background


@dataclass(frozen=True)
class Novel:
    """Where no photo shows what a rendering should look like: what a prior is asked about. B views."""

    camera: Camera
    background: Float[Tensor, "3"]
    """The colour that renderings are shown in front of."""
    generator: torch.Generator
    """On the CPU; all draws come from it."""
