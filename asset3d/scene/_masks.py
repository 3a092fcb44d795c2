"""Foreground masks: from a clean background, and colours without the background that shone through.

Letters in shapes: H rows, W columns.
"""
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

BORDER_SHARE = 0.8
"""At least this share of the image border must show the background for it to count as clean."""
BORDER_SPREAD = 0.05
"""Largest deviation of such a border pixel from a smooth background, in [0, 1]; JPEG noise stays below."""
HOLE_SHARE = 5e-4
"""Enclosed areas of background colour smaller than this share of the image are spots of the object."""


def background_of(color: Float[Tensor, "H W 3"]) -> tuple[np.ndarray, float] | None:
    """A clean background as (H, W, 3) colours that change linearly over the image, and its noise; None if not clean."""
    pixels = color.numpy()
    height, width = pixels.shape[:2]
    if min(height, width) < 8:
        return None
    y, x = np.mgrid[0:height, 0:width]
    basis = np.stack([np.ones((height, width)), x / width - 0.5, y / height - 0.5], -1)
    ring = np.ones((height, width), bool)
    ring[2:-2, 2:-2] = False
    ring_basis, ring_color = basis[ring], pixels[ring].astype(np.float64)
    inside = abs(ring_color - np.median(ring_color, 0)).max(-1) < 3 * BORDER_SPREAD
    for _ in range(3):
        if inside.mean() < BORDER_SHARE:
            return None
        fit = np.linalg.lstsq(ring_basis[inside], ring_color[inside], rcond=None)[0]
        residual = abs(ring_color - ring_basis @ fit).max(-1)
        inside = residual < BORDER_SPREAD
    if inside.mean() < BORDER_SHARE:
        return None
    return (basis @ fit).astype(np.float32), float(np.sqrt((residual[inside] ** 2).mean()))


def cut_out(color: Float[Tensor, "H W 3"]) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W 1"]] | None:
    """Foreground colours and alpha of an object before a clean background; None if the background is not clean.

    What is connected to the border and has the colour of the background is background, and so are larger enclosed
    areas of exactly that colour. Alpha at the edge is the fraction of the way from the background to the strongest
    foreground colour nearby; the colour there is freed of the background by inverting the blend.
    """
    from scipy import ndimage
    found = background_of(color)
    if found is None:
        return None
    background, noise = found
    difference = abs(color.numpy() - background).max(-1)
    threshold = max(4 * noise, 0.02)
    similar, count = ndimage.label(difference <= threshold)
    edges = np.concatenate([similar[0], similar[-1], similar[:, 0], similar[:, -1]])
    labels = np.arange(1, count + 1)
    area = ndimage.sum_labels(np.ones_like(difference), similar, labels)
    mean = ndimage.mean(difference, similar, labels)
    hole = (area >= HOLE_SHARE * similar.size) & (np.asarray(mean) <= max(2 * noise, 0.004))
    outside = np.isin(similar, np.union1d(edges[edges > 0], labels[hole]))
    share = 1 - outside.mean()
    if not 0.001 < share < 0.98:
        return None
    strongest = ndimage.maximum_filter(difference * ~outside, size=5)
    soft = np.clip(difference / np.maximum(strongest, threshold), 0, 1)
    edge = ndimage.binary_dilation(outside) & ndimage.binary_dilation(~outside)
    alpha = np.where(edge, soft, ~outside).astype(np.float32)[..., None]
    unmixed = (color.numpy() - (1 - alpha) * background) / np.maximum(alpha, 0.1)
    front = np.where(alpha > 0.1, np.clip(unmixed, 0, 1), color.numpy())
    return torch.from_numpy(front.astype(np.float32)), torch.from_numpy(alpha)


def clean_edges(color: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W 1"]) -> Float[Tensor, "H W 3"]:
    """Colours of the object alone in the half-covered pixels of a silhouette, where its neighbourhood tells them.

    A photo blends object and background there. The object's colour is what is left when the mean background nearby is
    taken out of the blend, the less trusted the smaller its share, and the mean of the object nearby otherwise. Images
    that had straight alpha once are not blended; whichever explains the pixels of the image better is taken.
    """
    object_mean, has_object = _mean_where(color, alpha > 0.98)
    behind_mean, has_behind = _mean_where(color, alpha < 0.02)
    soft = (alpha >= 0.02) & (alpha <= 0.98) & has_object
    known = soft & has_behind
    if bool(known.any()):
        blended = alpha * object_mean + (1 - alpha) * behind_mean
        error = lambda guess: ((guess - color).abs() * known).sum()
        if error(object_mean) < error(blended):
            return color
    unmixed = ((color - (1 - alpha) * behind_mean) / alpha.clamp(min=0.02)).clamp(0, 1)
    trust = alpha ** 2 * has_behind
    return torch.where(soft, trust * unmixed + (1 - trust) * object_mean, color)


def _mean_where(color: Tensor, chosen: Tensor) -> tuple[Float[Tensor, "H W 3"], Tensor]:
    """Means of the chosen pixels in 5 x 5 neighbourhoods, and where there are any."""
    weight = chosen.float()
    stack = torch.cat([color * weight, weight], -1).permute(2, 0, 1)[None]
    total = avg_pool2d(stack, 5, stride=1, padding=2, count_include_pad=False)[0].permute(1, 2, 0)
    return total[..., :3] / total[..., 3:].clamp(min=1e-6), total[..., 3:] > 1e-6
