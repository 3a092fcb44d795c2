"""A density field with colour (Instant-NGP, Müller et al. 2022)."""
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from asset3d.registry import register
from asset3d.representation._field import HashGridConfig, HashGridEncoding, mlp
from asset3d.representation._occupancy import OccupancyGrid, dilate
from asset3d.representation.base import Representation
from asset3d.scene.views import Views

POINTS_AT_ONCE = 1 << 17


class HashGridFieldConfig(HashGridConfig):
    type: Literal["hash_grid_field"] = "hash_grid_field"
    n_levels: int = Field(14, ge=1, le=24)
    """Levels of the hash grid."""
    initial_density: float = Field(3.0, gt=0)
    """Density of the untrained field, per unit length."""
    blob: float = Field(0.0, ge=0, le=10)
    """Added to the logarithm of the density in the centre, falling to 0 at a distance of 0.5: fields that few views
    tell about grow from the middle (DreamFusion)."""
    surface_density: float = Field(25.0, gt=0)
    """The level at which `convert` takes the surface."""
    occupancy_every: int = Field(20, ge=1)
    """Steps between two looks at where the density is."""
    occupancy_decay: float = Field(0.8, ge=0, lt=1)
    """How much of a cell's remembered density one look keeps."""


@register("representation", HashGridFieldConfig)
class HashGridField(Representation):
    """Density (per unit length) and colour at points of [-0.5, 0.5]^3."""

    gives = ("density",)

    def __init__(self, config: HashGridFieldConfig, generator: torch.Generator):
        super().__init__(config)
        self.encoding = HashGridEncoding(config, generator)
        self.geometry = mlp([self.encoding.width, config.width, 1 + config.n_features], generator)
        self.appearance = mlp([1 + config.n_features, config.width, config.width, 3], generator)
        self.occupancy = OccupancyGrid(config.occupancy_resolution)
        with torch.no_grad():
            self.geometry[-1].bias[0] = float(torch.tensor(config.initial_density).log())

    def parameter_groups(self):
        yield "encoding", 1.0, list(self.encoding.parameters())
        yield "network", 0.3, [*self.geometry.parameters(), *self.appearance.parameters()]

    def forward(self, x: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N C"]]:
        """Density, and what `color` needs to know about the same points."""
        out = self.geometry(self.encoding(x))
        return self._log_density(x, out).clamp(max=12).exp(), out

    def _log_density(self, x: Float[Tensor, "N 3"], out: Float[Tensor, "N C"]) -> Float[Tensor, "N"]:
        if not self.config.blob:
            return out[:, 0]
        return out[:, 0] + self.config.blob * (1 - 2 * (x.square().sum(-1) + 1e-6).sqrt())

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        return self(x)[0]

    def color(self, x: Float[Tensor, "N 3"], features: Float[Tensor, "N C"]) -> Float[Tensor, "N 3"]:
        """sRGB, the same from all directions."""
        return torch.sigmoid(self.appearance(features))

    def gradient(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Analytic gradient of the logarithm of the density, negated: outwards; differentiable itself when gradients
        are enabled."""
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            log_density = self._log_density(x, self.geometry(self.encoding(x)))
            (gradient,) = torch.autograd.grad(-log_density.sum(), x, create_graph=create_graph)
        return gradient

    @torch.no_grad()
    def evaluate(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """`log(surface_density / density)` of many points: like a signed distance, negative inside, but no metric."""
        log_surface = torch.tensor(self.config.surface_density).log()
        return torch.cat([log_surface - self.density(chunk).log() for chunk in x.split(POINTS_AT_ONCE)])

    @torch.no_grad()
    def evaluate_color(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Colours of many points, in chunks, without a graph."""
        return torch.cat([self.color(chunk, self(chunk)[1]) for chunk in x.split(POINTS_AT_ONCE)])

    def initialise(self, views: Views, generator: torch.Generator,
                   between: Callable[[], None] = lambda: None) -> None:
        """Never look far outside of the visual hull of the masks."""
        self.occupancy.allow_hull(views, 0.1)
        self.occupancy.value.fill_(self.config.initial_density)

    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        if step and step % self.config.occupancy_every == 0:
            self._find_density(generator)

    @torch.no_grad()
    def _find_density(self, generator: torch.Generator) -> None:
        """Remember the largest recent density of every cell, at one random point of it per look."""
        grid = self.occupancy
        allowed = grid.allowed.flatten()
        centers = grid.centers()[allowed]
        jitter = (torch.rand(centers.shape, generator=generator) - 0.5).to(centers.device) / grid.resolution
        value = grid.value.flatten()
        value[allowed] = torch.maximum(value[allowed] * self.config.occupancy_decay, torch.cat(
            [self.density(chunk) for chunk in (centers + jitter).split(POINTS_AT_ONCE)]))
        grid.value.copy_(value.reshape(grid.value.shape))
        threshold = min(1.0, float(value[allowed].mean())) if allowed.any() else 1.0
        grid.set(dilate(grid.value > threshold))
