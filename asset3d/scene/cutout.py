"""Alpha of images that were drawn in front of white. Letters in shapes: H rows, W columns."""
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.scene._masks import cut_out

NOT_WHITE = 0.08
"""A pixel that differs so much from white is no background, where the border of an image is not clean."""


def before_white(image: Float[Tensor, "H W 3"]) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W 1"]]:
    """Foreground colours and alpha of an object in front of white.

    As for photos in front of a clean background, larger enclosed areas of exactly that white are holes. An image
    without a clean border, as samplers draw one now and then, is cut out by how far its pixels are from white.
    """
    found = cut_out(image)
    if found is not None:
        return found
    alpha = ((1 - image).amax(-1, keepdim=True) / NOT_WHITE).clamp(0, 1)
    color = torch.where(alpha > 0.1, (image - (1 - alpha)) / alpha.clamp(min=0.1), image)
    return color.clamp(0, 1), alpha
