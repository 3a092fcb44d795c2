"""Colour differences between renderings and photos."""
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from asset3d.loss.base import Loss, LossConfig, mean_over
from asset3d.metric.ssim import ssim
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target
from asset3d.scene.views import Views


class PhotometricConfig(LossConfig):
    type: Literal["photometric"] = "photometric"
    l1: float = Field(1.0, ge=0)
    """Weight of the mean absolute difference."""
    l2: float = Field(0.0, ge=0)
    """Weight of the mean squared difference."""
    ssim: float = Field(0.0, ge=0)
    """Weight of 1 - SSIM (Wang et al. 2004); needs a renderer of whole images."""
    exposure: bool = True
    """Fit one brightness factor per view (their geometric mean is 1), for photos of unequal exposure."""


@register("loss", PhotometricConfig)
class Photometric(Loss):
    """Difference between rendered and photographed colours, both in front of the same background."""

    def begin(self, views: Views, guides: Views | None = None) -> None:
        if self.config.exposure:
            self.log_gain = nn.Parameter(torch.zeros(len(views), device=views.color.device))

    def gain(self) -> Float[Tensor, "V"]:
        """One brightness factor per view."""
        return torch.exp(self.log_gain - self.log_gain.mean())

    @classmethod
    def needs_of(cls, config):
        return {"images": "leave `ssim` out, or choose a renderer of whole images"} if config.ssim else {}

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        color = rendering.color
        if self.config.exposure:
            color = (color * self.gain()[target.view][..., None]).clamp(max=1)  # a photo cannot be brighter than white
        ours = color + (1 - rendering.alpha) * target.background
        theirs = target.over()
        difference = ours - theirs
        loss = self.config.l1 * mean_over(difference.abs(), target.valid)
        if self.config.l2:
            loss = loss + self.config.l2 * mean_over(difference.square(), target.valid)
        if self.config.ssim:
            if ours.dim() != 4:
                raise ValueError("loss 'photometric': ssim needs whole images, but this renderer is trained on rays")
            valid = 1 if target.valid is None else target.valid.to(ours.dtype)
            loss = loss + self.config.ssim * (1 - ssim(ours * valid, theirs * valid).mean())
        return loss
