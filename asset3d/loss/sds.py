"""Score distillation: what a diffusion prior would change in a rendering (DreamFusion, Poole et al. 2023)."""
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig
from asset3d.prior._caption import best_caption
from asset3d.prior.base import Prior, at_size, shared
from asset3d.registry import Config, OneOf, register
from asset3d.scene.rendering import Novel, Rendering
from asset3d.scene.views import Views
from asset3d.schedule import Schedule, Values, constant

Share = Annotated[Schedule, Values(ge=0, le=1)]


class SdsConfig(LossConfig):
    type: Literal["sds"] = "sds"
    prior: Annotated[Config, OneOf("prior")]
    """Which diffusion network guides."""
    prompt: str = ""
    """What the object is, for priors of words; by default the caption that fits the first given view best, of those
    that `toy-autoencoder` knows."""
    guidance_scale: Annotated[Schedule, Values(ge=0)] = constant(3.0)
    """Of classifier-free guidance; 1 is the condition alone."""
    time: tuple[Share, Share] = (constant(0.02), constant(0.98))
    """Least and largest share of the noise schedule that times are drawn between."""
    weighting: Literal["sds", "uniform"] = "sds"
    """Weight of a time: sds is 1 - signal, the variance of the noise; uniform is 1."""

    @model_validator(mode="after")
    def _in_order(self):
        low, high = self.time
        steps = {step for schedule in self.time for step, _ in schedule.knots}
        wrong = [step for step in sorted(steps) if low(step) > high(step)]
        if wrong:
            raise ValueError(f"time: the least share ({low(wrong[0])}) is above the largest ({high(wrong[0])}) at step "
                             f"{wrong[0]}")
        return self


@register("loss", SdsConfig)
class Sds(Loss):
    """Half the squared length of weight * (noise that the prior sees - noise that was added), per view.

    Its gradient in the latents is that difference itself: the network is not differentiated (Poole et al. 2023,
    equation 3). Weights of the prior are frozen, and all halves of the guidance go through the network in one call.
    """

    of_random_views = True

    def begin(self, views: Views, guides: Views | None = None) -> None:
        self._take(shared(self.config.prior, views.color.device), [views] if guides is None else [views, guides])

    @classmethod
    def with_prior(cls, config: SdsConfig, prior: Prior, views: Sequence[Views]) -> "Sds":
        """For scripts that hold a prior already: `config.prior` is not loaded."""
        loss = cls(config)
        loss._take(prior, views)
        return loss

    def _take(self, prior: Prior, views: Sequence[Views]) -> None:
        self._prior = [prior]  # in a list: its weights are no state of a loss
        prompt = self.config.prompt
        if prior.takes_words and not prompt and views:
            prompt = best_caption(views[0].on_white[0])
            self.remarks.append(f"prompt: {prompt} (the best caption that is known; `prompt` says it better)")
        self.guide = prior.guide(views, prompt)

    @property
    def prior(self) -> Prior:
        return self._prior[0]

    def forward(self, rendering: Rendering, target: Novel, step: int) -> Float[Tensor, ""]:
        images = at_size(rendering.over(target.background), self.prior.image_size)
        latents = self.prior.encode(images)
        gradient = self.gradient(latents, target, step)
        goal = (latents - gradient).detach()
        return 0.5 * (latents - goal).square().sum() / len(latents)

    @torch.no_grad()
    def gradient(self, latents: Float[Tensor, "B C h w"], target: Novel, step: int) -> Float[Tensor, "B C h w"]:
        """weight(time) * (predicted noise - noise), with one time and noise per view."""
        times = self._times(len(latents), step, target.generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=target.generator).to(latents)
        noisy = self.prior.add_noise(latents, noise, times)
        predicted = self.prior.guided_noise(noisy, times, self.guide(target.camera), self.config.guidance_scale(step))
        difference = predicted - noise
        if self.config.weighting == "uniform":
            return difference
        return (1 - self.prior.signal[times]).view(-1, 1, 1, 1) * difference

    def _times(self, count: int, step: int, generator: torch.Generator) -> Int64[Tensor, "B"]:
        low, high = (round(share(step) * (self.prior.n_times - 1)) for share in self.config.time)
        return torch.randint(low, high + 1, (count,), generator=generator)
