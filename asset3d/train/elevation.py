"""A small network that tells from how far above a picture was taken."""
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.prior._elevation import ElevationNet, centred
from asset3d.registry import Config, register
from asset3d.train._pool import AnyPool, PoolConfig, ViewPool
from asset3d.train.base import Draw, Trainer, picture, seeded

N_VALIDATED, N_DRAWN = 64, 8


class ElevationTrainConfig(Config):
    type: Literal["elevation"] = "elevation"
    data: AnyPool = PoolConfig()
    """What is learned from: toys, or files of your own."""


@register("train", ElevationTrainConfig)
class ElevationTrainer(Trainer):
    """Mean absolute error in degrees, over centred views from everywhere."""

    def build(self, generator: torch.Generator) -> None:
        self.network = seeded(ElevationNet, generator)

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        self.pool = ViewPool(self.config.data).prepare(tell, raise_if_cancelled)
        self.held_pool = ViewPool(self.config.data.held(N_VALIDATED), "held").prepare(tell, raise_if_cancelled)

    def loss(self, draw: Draw) -> dict[str, Tensor]:
        objects = torch.randint(len(self.pool), (draw.batch,), generator=draw.generator)
        views = torch.randint(self.config.data.views, (draw.batch,), generator=draw.generator)
        images = centred(self.pool.images(objects, views)).to(draw.device)
        error = self.network(images) - self.pool.poses(objects, views)[:, 1].to(draw.device)
        return {"degrees": error.abs().mean() / 30}

    def validate(self, draw: Draw) -> tuple[dict[str, float], Float[Tensor, "H W 3"]]:
        n = min(N_VALIDATED, len(self.held_pool))
        objects = torch.arange(n).repeat_interleave(self.config.data.views)
        views = torch.arange(self.config.data.views).repeat(n)
        images = centred(self.held_pool.images(objects, views))
        truth = self.held_pool.poses(objects, views)[:, 1]
        error = (self.network(images.to(draw.device)).cpu() - truth).abs()
        usual = (truth > -20) & (truth < 60)
        return ({"validation error": error.median().item(), "usual error": error[usual].median().item()},
                picture([images[:N_DRAWN]]))

    def save(self, folder: Path) -> Mapping[str, object]:
        self.network.save(folder)
        return {**self.pool.card, "recipe": "train/elevation"}
