"""Parts that fields share: the hash-grid encoding and a small network."""
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import AfterValidator, Field, ValidationInfo
from torch import Tensor, nn

from asset3d.errors import EmptySurface
from asset3d.ops import _backend
from asset3d.ops.hash_grid import hash_grid_levels
from asset3d.registry import Config


def _not_coarser(value: int, info: ValidationInfo) -> int:
    base = info.data.get("base_resolution", value)
    if value < base:
        raise ValueError(f"max_resolution must be at least base_resolution ({base}), got {value}")
    return value


class HashGridConfig(Config):
    """Settings of every field on a hash grid."""

    type: str
    n_levels: int = Field(12, ge=1, le=24)
    """Levels of the hash grid."""
    base_resolution: int = Field(16, ge=2)
    """Cells per axis of the coarsest level."""
    max_resolution: Annotated[int, AfterValidator(_not_coarser)] = Field(512, ge=2)
    """Cells per axis of the finest level."""
    log2_hashmap_size: int = Field(17, ge=10, le=24)
    """Base-2 logarithm of the rows per level."""
    width: int = Field(64, ge=8, le=512)
    """Neurons per hidden layer."""
    n_features: int = Field(15, ge=0)
    """Numbers that the geometry network hands to the colour network."""
    occupancy_resolution: int = Field(128, ge=8, le=512)
    """Cells per axis of the grid that tells rays where to look."""
    backend: Annotated[Literal["native", "tinycudann"], AfterValidator(_backend.installed)] = "native"
    """Whose kernels look up the hash grid; `tinycudann` must be installed, and runs on CUDA only."""


class HashGridEncoding(nn.Module):
    """Features of points in [-0.5, 0.5]^3 from a multiresolution hash grid, coarse levels first.

    Levels above `n_active` give zeros, so that a field can be trained from coarse to fine.
    """

    def __init__(self, config: HashGridConfig, generator: torch.Generator, n_features: int = 2):
        super().__init__()
        n_levels = config.n_levels
        self.levels = hash_grid_levels(n_levels, config.base_resolution, config.max_resolution,
                                       config.log2_hashmap_size)
        table = torch.rand(self.levels.first_rows[-1], n_features, generator=generator)
        self.table = nn.Parameter((table * 2 - 1) * 1e-4)
        self.n_levels, self.n_features = n_levels, n_features
        self.n_active = n_levels
        self.encode = _backend.backend("hash_grid", config.backend).hash_grid_encode

    @property
    def width(self) -> int:
        return self.n_levels * self.n_features

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.n_active)

    def set_extra_state(self, state: Tensor) -> None:
        self.n_active = int(state)

    def forward(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N LF"]:
        n = self.n_active
        levels = self.levels
        features = self.encode(x + 0.5, self.table, levels.scales[:n], levels.resolutions[:n],
                               levels.first_rows[:n + 1])
        missing = (self.n_levels - n) * self.n_features
        return nn.functional.pad(features, (0, missing)) if missing else features


def mlp(widths: list[int], generator: torch.Generator, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A fully connected network with He-initialised weights drawn from `generator`; biases start at 0."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:])):
        layer = nn.utils.skip_init(nn.Linear, n_in, n_out)  # its own start would draw from the global generator
        with torch.no_grad():
            layer.weight.copy_(torch.randn(n_out, n_in, generator=generator) * (2 / n_in) ** 0.5)
            layer.bias.zero_()
        layers += [layer] if i == len(widths) - 2 else [layer, activation()]
    return nn.Sequential(*layers)


def require_surface(value: Float[Tensor, "..."]) -> None:
    """Refuse values of a field that do not change their sign.

    Raises:
        EmptySurface: With the range of the values.
    """
    low, high = float(value.min()), float(value.max())
    if not low < 0 < high:
        raise EmptySurface(f"the field has no surface: its values lie in [{low:.4g}, {high:.4g}] and never cross 0; "
                           "train it for more steps, or check the masks of the views")
