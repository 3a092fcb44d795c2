"""Zero-1-to-3 on toy objects, given one view or several."""
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from asset3d.errors import InputError
from asset3d.prior.base import Condition, pretrained
from asset3d.prior.zero123 import Projection, Zero123, noise_schedule, ways
from asset3d.registry import InputPath, register
from asset3d.train._diffusion import N_DRAWN, N_VALIDATED, DiffusionConfig, DiffusionTrainer, Held
from asset3d.train._latents import LatentPool
from asset3d.train._unet import small_unet
from asset3d.train.base import Draw, seeded


class Zero123TrainConfig(DiffusionConfig):
    type: Literal["zero123"] = "zero123"
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


@register("train", Zero123TrainConfig)
class Zero123Trainer(DiffusionTrainer):
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
        condition = self.dropped(condition, draw)
        return {"noise": self.denoising_loss(self.pool.latents_of(objects, order[:, 0]), condition, draw)}

    def conditions(self, pool: LatentPool, objects: Int64[Tensor, "B"], given: Int64[Tensor, "B V"],
                   target: Int64[Tensor, "B"], device) -> Condition:
        """What the network is told, from what is stored."""
        poses = ways(pool.views.poses(objects[:, None].expand_as(given), given), pool.views.poses(objects, target))
        tokens = self.prior.tokens(pool.embeddings_of(objects[:, None], given).to(device), poses.to(device))
        return Condition(tokens, pool.latents_of(objects, given[:, 0]).to(device))

    def held(self, draw: Draw) -> Held:
        objects = torch.arange(N_VALIDATED)
        given = torch.arange(1, 1 + self.config.given_views[1]).expand(N_VALIDATED, -1)
        target = torch.zeros_like(objects)
        want, first = (self.held_pool.views.images(objects[:N_DRAWN], views[:N_DRAWN])
                       for views in (target, given[:, 0]))
        return Held(self.conditions(self.held_pool, objects, given, target, draw.device),
                    self.held_pool.latents_of(objects, target), want, [first])

    def save(self, folder: Path) -> Mapping[str, object]:
        self.prior.save(folder)
        return {"trained on": self.pool.views.about, "recipe": "train/zero123"}
