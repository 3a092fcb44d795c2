"""A signed distance field with colour (NeuS, Wang et al. 2021; hash grid: Müller et al. 2022)."""
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from asset3d.registry import register
from asset3d.representation._field import HashGridConfig, HashGridEncoding, mlp
from asset3d.representation._occupancy import OccupancyGrid
from asset3d.representation.base import Representation
from asset3d.scene.views import Views

POINTS_AT_ONCE = 1 << 17


class SdfFieldConfig(HashGridConfig):
    type: Literal["sdf_field"] = "sdf_field"
    initial_levels: int = Field(6, ge=1)
    """Levels that are active at the first step; the others follow one by one."""
    all_levels_at: float = Field(0.5, ge=0, le=1)
    """Share of the steps after which all levels are active."""
    initial_sharpness: float = Field(150, gt=0)
    """1/s of NeuS's logistic density at the first step; grows geometrically (NeuS learns it, which is slower)."""
    final_sharpness: float = Field(1200, gt=0)
    """1/s at the last step."""
    occupancy_every: int = Field(40, ge=1)
    """Steps between two looks at where the surface is."""
    hull_steps: int = Field(150, ge=0)
    """Steps that fit the field to the distance from the visual hull before the optimization; 0 starts from a sphere."""


@register("representation", SdfFieldConfig)
class SdfField(Representation):
    """Signed distance (negative inside) and colour at points of [-0.5, 0.5]^3."""

    gives = ("sdf",)

    def __init__(self, config: SdfFieldConfig, generator: torch.Generator):
        super().__init__(config)
        self.encoding = HashGridEncoding(config, generator)
        self.geometry = mlp([3 + self.encoding.width, config.width, 1 + config.n_features], generator,
                            lambda: nn.Softplus(beta=100))
        self.appearance = mlp([3 + config.n_features + self.encoding.width, config.width, config.width, 3], generator)
        self.occupancy = OccupancyGrid(config.occupancy_resolution)
        self.register_buffer("sharpness", torch.tensor(float(config.initial_sharpness)))
        with torch.no_grad():
            self.geometry[-1].weight.mul_(0.1)

    def parameter_groups(self):
        yield "encoding", 1.0, list(self.encoding.parameters())
        yield "network", 0.3, [*self.geometry.parameters(), *self.appearance.parameters()]

    # -- the field ----------------------------------------------------------------------------------------------

    def forward(self, x: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N C"]]:
        """Signed distance, and what `color` needs to know about the same points."""
        encoded = self.encoding(x)
        out = self.geometry(torch.cat([x * 2, encoded], -1))
        sphere = (x.square().sum(-1) + 1e-6).sqrt() - 0.35  # the network learns the difference
        return sphere + out[:, 0], torch.cat([out[:, 1:], encoded], -1)

    def sdf(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        return self(x)[0]

    def color(self, x: Float[Tensor, "N 3"], features: Float[Tensor, "N C"]) -> Float[Tensor, "N 3"]:
        """sRGB; the same from all directions, as the asset's base colour will be."""
        return torch.sigmoid(self.appearance(torch.cat([x * 2, features], -1)))

    def gradient(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Analytic gradient of the distance; differentiable itself when gradients are enabled."""
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.sdf(x).sum(), x, create_graph=create_graph)
        return gradient

    @torch.no_grad()
    def evaluate(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Signed distances of many points, in chunks, without a graph."""
        return torch.cat([self.sdf(chunk) for chunk in x.split(POINTS_AT_ONCE)])

    @torch.no_grad()
    def evaluate_color(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Colours of many points, in chunks, without a graph."""
        return torch.cat([self.color(chunk, self(chunk)[1]) for chunk in x.split(POINTS_AT_ONCE)])

    # -- training -----------------------------------------------------------------------------------------------

    def initialise(self, views: Views, generator: torch.Generator,
                   between: Callable[[], None] = lambda: None) -> None:
        """Restrict rays to the visual hull of the masks and fit it to the distance from the hull."""
        hull = self.occupancy.allow_hull(views, 0.5)
        if self.config.hull_steps:
            self._fit(signed_distance(hull), generator, between)
        self._find_surface()

    def _fit(self, distance: Float[Tensor, "X Y Z"], generator: torch.Generator, between: Callable[[], None]) -> None:
        self.encoding.n_active = min(self.config.initial_levels, self.config.n_levels)
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3)
        centers = self.occupancy.centers()
        distance = distance.flatten()
        near = torch.nonzero(distance.abs() < max(0.06, 1 / self.occupancy.resolution))[:, 0]
        for _ in range(self.config.hull_steps):
            between()
            picked = near[torch.randint(len(near), (12288,), generator=generator).to(near.device)]
            anywhere = torch.randint(len(centers), (4096,), generator=generator)
            index = torch.cat([picked, anywhere.to(near.device)])
            loss = (self.sdf(centers[index]) - distance[index]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        config, progress = self.config, step / max(n_steps - 1, 1)
        ramp = min(progress / config.all_levels_at, 1.0) if config.all_levels_at else 1.0
        first = min(config.initial_levels, config.n_levels)
        self.encoding.n_active = first + round(ramp * (config.n_levels - first))
        ratio = config.final_sharpness / config.initial_sharpness
        self.sharpness.fill_(config.initial_sharpness * ratio ** progress)
        if step % config.occupancy_every == 0:
            self._find_surface()

    @torch.no_grad()
    def _find_surface(self) -> None:
        """Mark the cells whose part of the logistic density is not negligible."""
        allowed = self.occupancy.allowed.flatten()
        value = torch.full_like(self.occupancy.value.flatten(), 1.0)
        value[allowed] = self.evaluate(self.occupancy.centers()[allowed])
        half_diagonal = 0.5 * 3 ** 0.5 / self.occupancy.resolution
        self.occupancy.set((value.abs() < half_diagonal * 1.2 + 5 / self.sharpness).reshape(self.occupancy.value.shape))


def signed_distance(inside: Tensor) -> Float[Tensor, "X Y Z"]:
    """Signed distance (negative inside) at the cell centres of a binary grid over [-0.5, 0.5]^3."""
    from scipy.ndimage import distance_transform_edt

    mask = inside.cpu().numpy()
    distance = distance_transform_edt(~mask) - distance_transform_edt(mask)
    offset = np.where(mask, 0.5, -0.5)  # the boundary lies half a cell from the centres on both sides
    return torch.from_numpy(((distance + offset) / mask.shape[0]).astype(np.float32)).to(inside.device)
