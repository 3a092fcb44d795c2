"""Zero-1-to-3 on toy objects, given one view or several."""
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int64
from pydantic import model_validator
from torch import Tensor, nn

from asset3d.models import folder_of
from asset3d.prior.base import Condition, pretrained
from asset3d.prior.zero123 import Projection, Zero123, noise_schedule, ways
from asset3d.registry import register
from asset3d.train._diffusion import N_DRAWN, N_VALIDATED, DiffusionTrainer, Held, NetworkConfig
from asset3d.train._latents import LatentPool
from asset3d.train._unet import small_unet
from asset3d.train.base import Draw, seeded


DROPPED = (0.05, 0.15)
"""Samples between these shares have no latent (zero123): half of them have no token either."""


class Zero123TrainConfig(NetworkConfig):
    type: Literal["zero123"] = "zero123"
    given_views: tuple[int, int] = (1, 1)
    """Fewest and most views that are given; their number is drawn for each step."""
    tokens: Literal["joined", "split"] = "joined"
    """One token for each given view, of image and pose, as published; or a second one for the pose. With one view and
    joined tokens, cross-attention has a single key: its queries and keys learn nothing (Yu et al. 2024)."""
    drop_latents: tuple[float, float] = DROPPED
    """Samples between these shares have no latent (zero123): half of them have no token either."""

    @model_validator(mode="after")
    def _has_views(self):
        if not 1 <= self.given_views[0] <= self.given_views[1] < self.data.views:
            raise ValueError(f"given_views must be from 1 to one less than data.views, {self.data.views - 1}")
        return self


def dropped(condition: Condition, draw: Draw, config, droppable: Sequence[bool] | None = None) -> Condition:
    """Some samples without the droppable ones of their tokens (default: all), some without a latent, some without both:
    what guidance takes for the unconditional half."""
    chance = torch.rand(len(condition), generator=draw.generator)
    low, high = config.drop_latents
    with_tokens = (chance >= config.drop_tokens).float().to(draw.device)
    with_latents = ((chance < low) | (chance >= high)).float().to(draw.device)
    n_tokens = condition.tokens.shape[1]
    kept = 1 - (1 - with_tokens[:, None]) * with_tokens.new_tensor(droppable or [True] * n_tokens)
    return Condition(condition.tokens * kept[..., None], condition.latents * with_latents.view(-1, 1, 1, 1))


def groups_of(prior: Zero123) -> list[tuple[float, list[nn.Parameter]]]:
    """What of a prior is trained: projections learn ten times as fast as the rest, as published."""
    projections = [p for module in prior.projections().values() for p in module.parameters()]
    return [(1.0, list(prior.unet.parameters())), (10.0, projections)]


@register("train", Zero123TrainConfig)
class Zero123Trainer(DiffusionTrainer):
    """Predicts the noise in the latent of a view from other views of the object."""

    def build(self, generator: torch.Generator) -> None:
        self.prior = self._new(generator) if self.config.initial is None else Zero123.load(self.config.initial)
        if self.config.tokens == "split":
            self.prior.split(generator)
        for part in (self.prior.unet, *self.prior.projections().values()):
            part.requires_grad_(True)

    def _new(self, generator: torch.Generator) -> Zero123:
        from diffusers import AutoencoderKL
        from transformers import CLIPVisionModelWithProjection

        folder = folder_of(self.config.autoencoder)
        vae = pretrained(folder, "vae", AutoencoderKL)
        encoder = pretrained(folder, "image_encoder", CLIPVisionModelWithProjection)
        width = encoder.config.projection_dim
        size = self.config.data.size >> (len(vae.config.block_out_channels) - 1)
        unet = seeded(lambda: small_unet(self.config.channels, size, 2 * vae.config.latent_channels,
                                         vae.config.latent_channels, width), generator)
        prior = Zero123(unet, vae, noise_schedule(self.config.prediction), encoder, Projection(width, width))
        return prior.requires_grad_(False)

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        self.pool = LatentPool(self.config.data).prepare(self.prior, tell, raise_if_cancelled)
        held = LatentPool(self.config.data.held(N_VALIDATED), "held")
        self.held_pool = held.prepare(self.prior, tell, raise_if_cancelled)

    def parameter_groups(self):
        return groups_of(self.prior)

    def loss(self, draw: Draw) -> dict[str, Tensor]:
        low, high = self.config.given_views
        n_given = int(torch.randint(low, high + 1, (), generator=draw.generator))
        objects = torch.randint(len(self.pool), (draw.batch,), generator=draw.generator)
        order = torch.rand(draw.batch, self.config.data.views, generator=draw.generator).argsort(1)
        condition = self.conditions(self.pool, objects, order[:, 1 : 1 + n_given], order[:, 0], draw.device)
        condition = dropped(condition, draw, self.config)
        return {"noise": self.denoising_loss(self.pool.latents_of(objects, order[:, 0]), condition, draw)}

    def conditions(self, pool: LatentPool, objects: Int64[Tensor, "B"], given: Int64[Tensor, "B V"],
                   target: Int64[Tensor, "B"], device) -> Condition:
        """What the network is told, from what is stored."""
        poses = ways(pool.views.poses(objects[:, None].expand_as(given), given), pool.views.poses(objects, target))
        tokens = self.prior.tokens(pool.embeddings_of(objects[:, None], given).to(device), poses.to(device))
        return Condition(tokens, pool.latents_of(objects, given[:, 0]).to(device))

    def held(self, draw: Draw) -> Held:
        objects = torch.arange(min(N_VALIDATED, len(self.held_pool)))
        given = torch.arange(1, 1 + self.config.given_views[1]).expand(len(objects), -1)
        target = torch.zeros_like(objects)
        want, first = (self.held_pool.views.images(objects[:N_DRAWN], views[:N_DRAWN])
                       for views in (target, given[:, 0]))
        return Held(self.conditions(self.held_pool, objects, given, target, draw.device),
                    self.held_pool.latents_of(objects, target), want, [first])

    def save(self, folder: Path) -> Mapping[str, object]:
        self.prior.save(folder)
        return {**self.pool.views.card, "recipe": "train/zero123", "prior": "zero123"}
