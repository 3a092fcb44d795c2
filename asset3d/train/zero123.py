"""Zero-1-to-3 on toy objects, given one view or several."""
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from asset3d import toybox
from asset3d.errors import InputError
from asset3d.metric.psnr import psnr
from asset3d.prior.base import Condition, pretrained
from asset3d.prior.zero123 import Projection, Zero123, noise_schedule, relative_pose
from asset3d.registry import Config, InputPath, register
from asset3d.train._latents import LatentPool
from asset3d.train._pool import PoolConfig
from asset3d.train._unet import small_unet
from asset3d.train.base import Draw, Trainer, picture, seeded

N_VALIDATED, N_DRAWN = 64, 8


class Zero123TrainConfig(Config):
    type: Literal["zero123"] = "zero123"
    data: PoolConfig = PoolConfig()
    autoencoder: InputPath
    """A folder with vae/ and image_encoder/, which stay as they are: what `train/autoencoder` makes."""
    given_views: tuple[int, int] = (1, 1)
    """Fewest and most views that are given; their number is drawn for each step."""
    channels: tuple[int, ...] = (48, 96)
    """Of the levels of the network."""
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    """What the network learns to say: the noise, as published, or v (Salimans & Ho 2022), from which a small network
    learns the whole picture sooner: where nearly all is noise, the noise itself is no news."""
    initial: InputPath | None = None
    """A model to go on from; default: random weights."""
    drop_tokens: float = Field(0.10, ge=0, lt=1)
    """Share of samples without tokens, for guidance (zero123: below 0.10)."""
    drop_latents: tuple[float, float] = (0.05, 0.15)
    """Samples between these shares have no latent (zero123): half of them have no token either."""
    sampling_steps: int = Field(25, ge=1)
    """Of the pictures for validation."""


@register("train", Zero123TrainConfig)
class Zero123Trainer(Trainer):
    """Predicts the noise in the latent of a view from other views of the object."""

    def build(self, generator: torch.Generator) -> None:
        from diffusers import AutoencoderKL
        from transformers import CLIPVisionModelWithProjection

        vae = pretrained(self.config.autoencoder, "vae", AutoencoderKL)
        encoder = pretrained(self.config.autoencoder, "image_encoder", CLIPVisionModelWithProjection)
        width = encoder.config.projection_dim
        size = self.config.data.size >> (len(vae.config.block_out_channels) - 1)
        unet = seeded(lambda: small_unet(self.config.channels, size, 2 * vae.config.latent_channels,
                                         vae.config.latent_channels, width), generator)
        self.prior = Zero123(unet, vae, noise_schedule(self.config.prediction), encoder, Projection(width, width))
        for frozen in (vae, encoder):
            frozen.requires_grad_(False)
        if self.config.initial is not None:
            self._go_on_from(Zero123.load(self.config.initial))

    def _go_on_from(self, other: Zero123) -> None:
        for name in ("unet", "cc_projection"):
            getattr(self.prior, name).load_state_dict(getattr(other, name).state_dict())
        if other.predicts_v != self.prior.predicts_v:
            raise InputError(f"{self.config.initial}: predicts {other.scheduler.config.prediction_type}; "
                             "set `prediction` to that")

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        self.pool = LatentPool(self.config.data).prepare(self.prior, tell, raise_if_cancelled)
        held = self.config.data.model_copy(update={"objects": N_VALIDATED})
        self.held_pool = LatentPool(held, "held").prepare(self.prior, tell, raise_if_cancelled)

    def parameter_groups(self):
        """The projection learns ten times as fast, as published."""
        projection = list(self.prior.cc_projection.parameters())
        return [(1.0, list(self.prior.unet.parameters())), (10.0, projection)]

    def loss(self, draw: Draw) -> dict[str, Tensor]:
        low, high = self.config.given_views
        n_given = int(torch.randint(low, high + 1, (), generator=draw.generator))
        objects = torch.randint(len(self.pool), (draw.batch,), generator=draw.generator)
        order = torch.rand(draw.batch, self.config.data.views, generator=draw.generator).argsort(1)
        condition = self.conditions(self.pool, objects, order[:, 1 : 1 + n_given], order[:, 0], draw.device)
        condition = self._dropped(condition, draw)
        return {"noise": self._denoising_loss(self.pool.latents_of(objects, order[:, 0]), condition, draw)}

    def conditions(self, pool: LatentPool, objects: Int64[Tensor, "B"], given: Int64[Tensor, "B V"],
                   target: Int64[Tensor, "B"], device) -> Condition:
        """What the network is told, from what is stored."""
        poses, goal = pool.views.poses(objects[:, None].expand_as(given), given), pool.views.poses(objects, target)
        ways = relative_pose(poses.flatten(0, 1), goal.repeat_interleave(given.shape[1], 0)).unflatten(0, given.shape)
        embeddings = pool.embeddings_of(objects[:, None], given)
        tokens = self.prior.tokens(embeddings.to(device), ways.to(device))
        return Condition(tokens, pool.latents_of(objects, given[:, 0]).to(device))

    def _dropped(self, condition: Condition, draw: Draw) -> Condition:
        """Some samples without tokens, some without a latent, some without both."""
        chance = torch.rand(draw.batch, generator=draw.generator)
        low, high = self.config.drop_latents
        with_tokens = (chance >= self.config.drop_tokens).float().to(draw.device)
        with_latents = ((chance < low) | (chance >= high)).float().to(draw.device)
        return Condition(condition.tokens * with_tokens.view(-1, 1, 1),
                         condition.latents * with_latents.view(-1, 1, 1, 1))

    def _denoising_loss(self, latents: Float[Tensor, "B 4 h w"], condition: Condition, draw: Draw) -> Tensor:
        latents = latents * self.prior.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=draw.generator)
        times = torch.randint(self.prior.n_times, (len(latents),), generator=draw.generator)
        latents, noise, times = (t.to(draw.device) for t in (latents, noise, times))
        predicted = self.prior.predicted(self.prior.add_noise(latents, noise, times), times, condition)
        return torch.nn.functional.mse_loss(predicted, self.prior.to_predict(latents, noise, times))

    def validate(self, draw: Draw) -> tuple[dict[str, float], Float[Tensor, "H W 3"]]:
        objects = torch.arange(N_VALIDATED)
        given = torch.arange(1, 1 + self.config.given_views[1]).expand(N_VALIDATED, -1)
        target = torch.zeros_like(objects)
        condition = self.conditions(self.held_pool, objects, given, target, draw.device)
        latents = self.held_pool.latents_of(objects, target)
        numbers = {"validation noise": self._denoising_loss(latents, condition, draw).item()}
        few = Condition(condition.tokens[:N_DRAWN], condition.latents[:N_DRAWN])
        got = self.prior.sample(few, draw.generator, steps=self.config.sampling_steps).cpu()
        want, first = (self.held_pool.views.images(objects[:N_DRAWN], views[:N_DRAWN])
                       for views in (target, given[:, 0]))
        numbers["validation psnr"] = psnr(want, got).mean().item()
        return numbers, picture([first, got, want])

    def save(self, folder: Path) -> Mapping[str, object]:
        self.prior.save(folder)
        return {"trained on": f"toybox {toybox.VERSION}", "recipe": "train/zero123"}
