"""What all trainers of diffusion networks share: the loss, conditions left out for guidance, and the validation."""
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from asset3d.metric.psnr import psnr
from asset3d.prior.base import Condition, Prior
from asset3d.registry import Config
from asset3d.train._pool import PoolConfig
from asset3d.train.base import Draw, Trainer, picture

N_VALIDATED, N_DRAWN = 64, 8


class DiffusionConfig(Config):
    data: PoolConfig = PoolConfig()
    drop_tokens: float = Field(0.10, ge=0, lt=1)
    """Share of samples without tokens, for guidance (zero123: below 0.10)."""
    drop_latents: tuple[float, float] = (0.05, 0.15)
    """Samples between these shares have no latent (zero123): half of them have no token either."""
    sampling_steps: int = Field(25, ge=1)
    """Of the pictures for validation."""


class Held(NamedTuple):
    """Held-out samples."""

    condition: Condition
    latents: Float[Tensor, "B 4 h w"]
    """What is to be drawn; not scaled."""
    images: Float[Tensor, "B H W 3"]
    """The same as images; of the first few samples at least."""
    shown: list[Float[Tensor, "B H W 3"]]
    """What else the picture shows, row by row; of the first few samples at least."""


class DiffusionTrainer(Trainer):
    """Predicts what was added to a latent, or v, given a condition. Subclasses make `prior` in `build`."""

    prior: Prior

    def denoising_loss(self, latents: Float[Tensor, "B 4 h w"], condition: Condition, draw: Draw) -> Tensor:
        """`latents` as they come from the pool, not scaled."""
        latents = latents * self.prior.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=draw.generator)
        times = torch.randint(self.prior.n_times, (len(latents),), generator=draw.generator)
        latents, noise, times = (t.to(draw.device) for t in (latents, noise, times))
        predicted = self.prior.predicted(self.prior.add_noise(latents, noise, times), times, condition)
        return torch.nn.functional.mse_loss(predicted, self.prior.to_predict(latents, noise, times))

    def dropped(self, condition: Condition, draw: Draw, droppable: Sequence[bool] | None = None) -> Condition:
        """Some samples without the droppable ones of their tokens (default: all), some without a latent, some without
        both."""
        chance = torch.rand(len(condition), generator=draw.generator)
        low, high = self.config.drop_latents
        with_tokens = (chance >= self.config.drop_tokens).float().to(draw.device)
        with_latents = ((chance < low) | (chance >= high)).float().to(draw.device)
        n_tokens = condition.tokens.shape[1]
        droppable = with_tokens.new_tensor([1.0] * n_tokens if droppable is None else droppable)
        kept = 1 - (1 - with_tokens[:, None]) * droppable
        return Condition(condition.tokens * kept[..., None], condition.latents * with_latents.view(-1, 1, 1, 1))

    @abstractmethod
    def held(self, draw: Draw) -> Held:
        """What to validate on: the same at every call, but for what the network itself draws."""

    def validate(self, draw: Draw) -> tuple[dict[str, float], Float[Tensor, "H W 3"]]:
        held = self.held(draw)
        numbers = {"validation noise": self.denoising_loss(held.latents, held.condition, draw).item()}
        few = Condition(held.condition.tokens[:N_DRAWN], held.condition.latents[:N_DRAWN])
        got = self.prior.sample(few, draw.generator, steps=self.config.sampling_steps).cpu()
        want = held.images[:N_DRAWN]
        numbers["validation psnr"] = psnr(want, got).mean().item()
        return numbers, picture([*(row[:N_DRAWN] for row in held.shown), got, want])
