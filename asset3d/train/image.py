"""Images of words with optional depth: one small Stable Diffusion that serves as text_image and as depth_image.

It sees the tokens of the object's caption and, in a channel beside the latent, the disparity of the view, scaled from
-1 to 1 for each image as Stable Diffusion 2 depth was trained; zeros where none is given.
"""
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from asset3d.models import folder_of
from asset3d.prior.base import Condition, pretrained
from asset3d.prior.depth_image import DepthImage, depth_channel, disparity_of
from asset3d.prior.text_image import Words
from asset3d.prior.zero123 import noise_schedule
from asset3d.registry import register
from asset3d.train._diffusion import N_DRAWN, N_VALIDATED, DiffusionTrainer, Held, NetworkConfig
from asset3d.train._latents import TOGETHER, LatentPool
from asset3d.train._unet import small_unet
from asset3d.train.base import Draw, seeded


class ImageTrainConfig(NetworkConfig):
    type: Literal["image"] = "image"
    drop_depth: float = Field(0.5, ge=0, le=1)
    """Share of samples without depth, from which the model learns to draw from words alone."""


@register("train", ImageTrainConfig)
class ImageTrainer(DiffusionTrainer):
    """Predicts the noise in the latent of a view from the object's caption and, mostly, the view's depth."""

    def build(self, generator: torch.Generator) -> None:
        initial = self.config.initial
        self.prior = self._new(generator) if initial is None else DepthImage.load(initial)
        self.prior.unet.requires_grad_(True)

    def _new(self, generator: torch.Generator) -> DepthImage:
        from diffusers import AutoencoderKL

        folder = folder_of(self.config.autoencoder)
        vae, words = pretrained(folder, "vae", AutoencoderKL), Words.load(folder)
        size = self.config.data.size >> (len(vae.config.block_out_channels) - 1)
        channels = vae.config.latent_channels
        unet = seeded(lambda: small_unet(self.config.channels, size, channels + 1, channels,
                                         words.encoder.config.hidden_size), generator)
        return DepthImage(unet, vae, noise_schedule(self.config.prediction), [words]).requires_grad_(False)

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        self.pool = LatentPool(self.config.data).prepare(self.prior, tell, raise_if_cancelled)
        held = LatentPool(self.config.data.held(N_VALIDATED), "held")
        self.held_pool = held.prepare(self.prior, tell, raise_if_cancelled)
        self.tokens, self.held_tokens = (self._tokens(pool.views.captions) for pool in (self.pool, self.held_pool))
        self.no_words = self._tokens([""])

    @torch.no_grad()
    def _tokens(self, captions: list[str]) -> Float[Tensor, "N K D"]:
        """On the CPU."""
        parts = (captions[k : k + TOGETHER] for k in range(0, len(captions), TOGETHER))
        return torch.cat([self.prior.condition(part).tokens.cpu() for part in parts])

    def loss(self, draw: Draw) -> dict[str, Tensor]:
        objects = torch.randint(len(self.pool), (draw.batch,), generator=draw.generator)
        views = torch.randint(self.config.data.views, (draw.batch,), generator=draw.generator)
        told, shaped = torch.rand(2, draw.batch, 1, 1, generator=draw.generator)
        tokens = torch.where(told >= self.config.drop_tokens, self.tokens[objects], self.no_words)
        depth = self._depth(self.pool, objects, views) * (shaped[..., None] >= self.config.drop_depth)
        condition = Condition(tokens.to(draw.device), depth.to(draw.device))
        return {"noise": self.denoising_loss(self.pool.latents_of(objects, views), condition, draw)}

    def _depth(self, pool: LatentPool, objects: Int64[Tensor, "B"],
               views: Int64[Tensor, "B"]) -> Float[Tensor, "B 1 h w"]:
        return depth_channel(disparity_of(pool.views.depth(objects, views)), self.prior.unet.config.sample_size)

    def held(self, draw: Draw) -> Held:
        """Words and depth; the picture shows what is drawn for them."""
        objects = torch.arange(min(N_VALIDATED, len(self.held_pool)))
        views = torch.zeros_like(objects)
        depth = self._depth(self.held_pool, objects, views).to(draw.device)
        condition = Condition(self.held_tokens[objects].to(draw.device), depth)
        absent = replace(condition, tokens=self.no_words.to(draw.device).expand_as(condition.tokens))
        size = self.config.data.size
        shown = torch.nn.functional.interpolate(depth[:N_DRAWN] / 2 + 0.5, (size, size)).cpu()
        return Held(replace(condition, unconditional=absent), self.held_pool.latents_of(objects, views),
                    self.held_pool.views.images(objects[:N_DRAWN], views[:N_DRAWN]),
                    [shown.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)])

    def save(self, folder: Path) -> Mapping[str, object]:
        self.prior.save(folder)
        return {**self.pool.views.card, "recipe": "train/image", "prior": "depth_image"}
