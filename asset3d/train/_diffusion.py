"""What all trainers of diffusion networks share: the loss, the fields of new networks, and the validation."""
from abc import abstractmethod
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor

from asset3d.metric.psnr import psnr
from asset3d.models import Model
from asset3d.prior.base import Condition, Prior
from asset3d.registry import Config
from asset3d.train._pool import AnyPool, PoolConfig
from asset3d.train.base import Draw, Trainer, picture

N_VALIDATED, N_DRAWN = 64, 8


class DiffusionConfig(Config):
    data: AnyPool = PoolConfig()
    """What is learned from: toys, or files of your own."""
    drop_tokens: float = Field(0.10, ge=0, lt=1)
    """Share of samples without tokens, for guidance (zero123: below 0.10)."""
    noisy: float = Field(0.5, ge=0, le=1)
    """Share of samples whose times are drawn from the noisiest fifth of the schedule (published: 0). There shapes and
    views are decided: in small networks from scratch, 14 000 steps of uniform times taught less of them than 800 steps
    of times above 0.9."""
    sampling_steps: int = Field(25, ge=1)
    """Of the pictures for validation."""


class NetworkConfig(DiffusionConfig):
    """Of trainers that may begin with a new network."""

    autoencoder: Model | None = None
    """A model whose autoencoder and encoders are used, and stay as they are: what `train/autoencoder` makes. Not needed
    where `initial` is given."""
    initial: Model | None = None
    """A model to go on from, with all its parts; default: random weights."""
    channels: tuple[int, ...] = (48, 96)
    """Of the levels of a new network."""
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    """What a new network learns to say: the noise, as published, or v (Salimans & Ho 2022), from which a small network
    learns the whole picture sooner: where nearly all is noise, the noise itself is no news."""

    @model_validator(mode="after")
    def _has_parts(self):
        if self.autoencoder is None and self.initial is None:
            raise ValueError("needs `autoencoder`, or `initial` to go on from")
        return self


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

    def _times(self, count: int, generator: torch.Generator) -> Int64[Tensor, "B"]:
        """Uniform, but that some are drawn from the noisiest fifth alone."""
        n = self.prior.n_times
        times = torch.randint(n, (count,), generator=generator)
        noisy = torch.rand(count, generator=generator) < self.config.noisy
        return torch.where(noisy, n - 1 - times // 5, times)

    def denoising_loss(self, latents: Float[Tensor, "B 4 h w"], condition: Condition, draw: Draw) -> Tensor:
        """`latents` as they come from the pool, not scaled."""
        latents = latents * self.prior.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=draw.generator)
        times = self._times(len(latents), draw.generator)
        latents, noise, times = (t.to(draw.device) for t in (latents, noise, times))
        predicted = self.prior.predicted(self.prior.add_noise(latents, noise, times), times, condition)
        return torch.nn.functional.mse_loss(predicted, self.prior.to_predict(latents, noise, times))

    @abstractmethod
    def held(self, draw: Draw) -> Held:
        """What to validate on: the same at every call, but for what the network itself draws."""

    def validate(self, draw: Draw) -> tuple[dict[str, float], Float[Tensor, "H W 3"]]:
        held = self.held(draw)
        numbers = {"validation noise": self.denoising_loss(held.latents, held.condition, draw).item()}
        few = held.condition.first(N_DRAWN)
        got = self.prior.sample(few, draw.generator, steps=self.config.sampling_steps).cpu()
        want = held.images[:N_DRAWN]
        numbers["validation psnr"] = psnr(want, got).mean().item()
        return numbers, picture([*(row[:N_DRAWN] for row in held.shown), got, want])
