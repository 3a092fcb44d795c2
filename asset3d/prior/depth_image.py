"""Images of words and of a depth map: Stable Diffusion 2 depth (Rombach et al. 2022).

Depth goes into a fifth channel of the network, in both halves of guidance.
"""
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from asset3d.errors import InputError
from asset3d.prior.base import Condition, PriorConfig
from asset3d.prior.text_image import TextImage
from asset3d.registry import register


class DepthImageConfig(PriorConfig):
    type: Literal["depth_image"] = "depth_image"


@register("prior", DepthImageConfig)
class DepthImage(TextImage):
    """Images of words, with the shape that a depth map shows."""

    @classmethod
    def check_channels(cls, folder: Path, given: int, latent: int) -> None:
        if given != latent + 1:
            raise InputError(f"model {folder}: its network takes {given} channels; depth_image needs {latent} of the "
                             "noisy latent and one of depth")

    @torch.no_grad()
    def condition(self, prompts: list[str], negative: str = "",
                  depth: Float[Tensor, "B H W 1"] | None = None) -> Condition:
        """What the network is told to draw images of texts with given shapes.

        Args:
            prompts: One for each sample.
            negative: What no image should be of.
            depth: Along the optical axis, 0 where there is nothing; None: any.
        """
        condition = super().condition(prompts, negative)
        if depth is None:
            return condition
        given = depth_channel(disparity_of(depth), self.unet.config.sample_size).to(condition.tokens)
        return replace(condition, latents=given, unconditional=replace(condition.unconditional, latents=given))


def disparity_of(depth: Float[Tensor, "B H W 1"]) -> Float[Tensor, "B H W 1"]:
    """What MiDaS estimates, up to scale and shift: the inverse of depth; 0, farthest, where there is nothing."""
    return torch.where(depth > 0, 1 / depth.clamp_min(1e-6), 0)


def depth_channel(disparity: Float[Tensor, "B H W 1"], size: int) -> Float[Tensor, "B 1 h w"]:
    """As the network was trained: bicubic to the size of latents, then from -1, the farthest of each image, to 1."""
    small = interpolate(disparity.permute(0, 3, 1, 2), (size, size), mode="bicubic", align_corners=False)
    low, high = small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True)
    return 2 * (small - low) / (high - low).clamp_min(1e-6) - 1
