"""What is likely to spoil an asset that is made of one photo, told before an hour is spent. H rows, W columns."""
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.scene.matting import Matte

SMALL_PIXELS = 128
"""Longest side of an object below which a photo shows too little of it."""
SMALL_SHARE = 0.02
"""Of the image."""
PART_SHARE = 0.01
"""Of the object: smaller parts apart from it are specks."""
SOFT_SHARE = 0.6
"""Half-transparent pixels per opaque one. Sharp outlines stay below: 0.13 on usual photos, 0.4 on a ficus."""
FLAT_DEVIATION = 0.02
"""Of the channel that varies most over the object, in [0, 1]."""
DARK, BRIGHT = 0.06, 0.95
"""Mean brightness of an object that shows hardly anything."""
SHARP_STEP = 0.04
"""Second difference of neighbours, in [0, 1], that the sharpest percent of a photo in focus exceeds."""
JUDGED_SIZE = 256
"""Sharpness is judged with the object's longest side this long: what is kept of it later."""


def remarks(matte: Matte) -> list[str]:
    """Warnings about a photo, each with what to do; none of them stops a run."""
    inside = (matte.alpha[..., 0] > 0.5).numpy()
    box = box_of(matte.alpha)
    return [text for text in (*_placed_badly(inside, box), *_matte_badly(matte.alpha, inside),
                              *_exposed_badly(matte, inside, box)) if text]


def box_of(alpha: Float[Tensor, "H W 1"]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is more than half opaque, in pixels; right and bottom are outside."""
    inside = alpha[..., 0] > 0.5
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _placed_badly(inside: np.ndarray, box: tuple[int, int, int, int]):
    left, top, right, bottom = box
    height, width = inside.shape
    longest = max(right - left, bottom - top)
    if longest < SMALL_PIXELS:
        yield (f"the object is only {longest} pixels long: details will be made up; give a picture on which it has "
               f"{SMALL_PIXELS} or more")
    if inside.mean() < SMALL_SHARE:
        yield (f"the object fills only {100 * inside.mean():.1f} % of the picture: check that it is what was cut out, "
               "or crop the picture")
    sides = [name for name, cut in (("left", left == 0), ("top", top == 0), ("right", right == width),
                                    ("bottom", bottom == height)) if cut]
    if sides:
        yield (f"the object touches the {' and the '.join(sides)} border of the picture: what is cut off there will be "
               "missing; give a picture with a margin")


def _matte_badly(alpha: Tensor, inside: np.ndarray):
    from scipy import ndimage

    areas = np.bincount(ndimage.label(inside)[0].ravel())[1:]
    parts = int((areas >= PART_SHARE * inside.sum()).sum())
    if parts > 1:
        yield (f"what was cut out is in {parts} parts: shadows, or several objects? one object is reconstructed; check "
               "the preview, or erase the others")
    soft = int(((alpha > 0.05) & (alpha < 0.95)).sum())
    if soft > SOFT_SHARE * inside.sum():
        yield (f"the outline is soft: {soft} half-transparent pixels to {int(inside.sum())} of the object; cut it out "
               "with a sharper edge")


def _exposed_badly(matte: Matte, inside: np.ndarray, box: tuple[int, int, int, int]):
    values = matte.color[torch.from_numpy(inside)]
    mean, deviation = float(values.mean()), float(values.std(0, correction=0).max())
    if mean < DARK or mean > BRIGHT:
        word = "dark" if mean < DARK else "bright"
        yield (f"the object is very {word} (mean {mean:.2f} of 1): its shape can hardly be told; "
               f"{'brighten' if word == 'dark' else 'darken'} the photo")
    if deviation < FLAT_DEVIATION:
        yield (f"the object has hardly any contrast (deviation {deviation:.3f} of 1): nothing tells its shape but the "
               "outline; a photo with shading or a pattern works better")
    elif sharpness(matte, box) < SHARP_STEP:
        yield "the picture is blurred: the asset will be, too; give a sharper one"


def sharpness(matte: Matte, box: tuple[int, int, int, int]) -> float:
    """The 99th percentile of second differences inside the object, of the channel where it is largest, with the longest
    side made `JUDGED_SIZE` pixels; a photo that is smaller is judged as it is."""
    from scipy import ndimage
    from torch.nn.functional import interpolate

    left, top, right, bottom = box
    stack = torch.cat([matte.color, matte.alpha], -1)[top:bottom, left:right].permute(2, 0, 1)
    scale = min(1.0, JUDGED_SIZE / max(right - left, bottom - top))
    size = [max(1, round(side * scale)) for side in stack.shape[1:]]
    *channels, alpha = interpolate(stack[None], size, mode="bilinear", antialias=True, align_corners=False)[0].numpy()
    core = ndimage.binary_erosion(alpha > 0.98, iterations=2)
    if not core.any():
        core = alpha >= alpha.max()  # thinner than a few pixels
    return max(float(np.quantile(abs(ndimage.laplace(channel))[core], 0.99)) for channel in channels)
