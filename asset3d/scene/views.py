"""Posed images. Letters in shapes: B views, H rows, W columns."""
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.scene.camera import Camera


@dataclass(frozen=True)
class Frame:
    """Where the object sat in the input: input = center + scale * inside (see scene/conventions.py)."""

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def to_input(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return points * self.scale + points.new_tensor(self.center)

    def to_inside(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return (points - points.new_tensor(self.center)) / self.scale


@dataclass(frozen=True)
class Views:
    """Posed images of one object, in the inside frame: the object lives in [-0.5, 0.5]^3.

    Views smaller than the largest are padded at the right and bottom; `valid` is false there.
    """

    camera: Camera
    color: Float[Tensor, "B H W 3"]
    """sRGB, straight (not multiplied with alpha)."""
    alpha: Float[Tensor, "B H W 1"]
    names: tuple[str, ...]
    valid: Bool[Tensor, "B H W 1"] | None = None
    depth: Float[Tensor, "B H W 1"] | None = None
    normal: Float[Tensor, "B H W 3"] | None = None

    def __len__(self) -> int:
        return len(self.camera)

    def __getitem__(self, index) -> "Views":
        index = [index] if isinstance(index, int) else index
        pick = lambda x: None if x is None else x[index]
        chosen = torch.arange(len(self))[index].tolist()
        return Views(self.camera[index], self.color[index], self.alpha[index], tuple(self.names[i] for i in chosen),
                     pick(self.valid), pick(self.depth), pick(self.normal))


@dataclass(frozen=True)
class ViewSet:
    """What a folder of posed photos holds: views to fit, views to judge by, and where the object was."""

    train: Views
    test: Views | None = None
    frame: Frame = field(default_factory=Frame)
