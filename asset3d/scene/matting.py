"""What of a photo is the object: its alpha, a plain background, or a matting network. H rows, W columns."""
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError, MissingDependency
from asset3d.scene._lens import shrunk
from asset3d.scene._masks import clean_edges, cut_out
from asset3d.scene.image import Picture, load_image, to_bytes

CUTOUTS = ("auto", "alpha", "background", "rembg")
WORKING_SIZE = 2048
"""Longer sides are shrunk to it first: far above what is kept of a photo, where 80 megapixels would take minutes."""
NETWORK = "u2net"
"""Of those that rembg knows, the one that it loads when none is named."""
INSTALL = 'pip install "rembg[cpu]"'
HELP = "give a PNG with an alpha channel, or a photo before a plain, evenly coloured background"
NOT_WHITE = 0.08
"""A pixel that differs so much from white is no background, where the border of an image is not clean."""


@dataclass(frozen=True)
class Matte:
    """A photo and what of it is the object."""

    name: str
    color: Float[Tensor, "H W 3"]
    """sRGB, straight."""
    alpha: Float[Tensor, "H W 1"]
    how: str
    """What told the object from the background: alpha, background or rembg."""
    notes: tuple[str, ...] = ()


def read_matte(path: Path, cutout: str = "auto") -> Matte:
    """Decode a photo and cut its object out.

    Args:
        path: A PNG, JPEG or WebP file.
        cutout: "alpha", "background" (a plain one), "rembg" (a matting network of the package of that name, which must
            be installed with its weights), or "auto": the first of these that is there.

    Raises:
        InputError: The file is unreadable, nothing tells the object from the background, or nothing is left of it.
        MissingDependency: rembg is asked for and not installed.
    """
    picture = _limited(load_image(path))
    color, alpha, how = _cut(path, picture, cutout)
    if not bool((alpha > 0.5).any()):
        raise InputError(f"{path}: the matte ({how}) is blank, nothing is left of the object; {HELP}")
    return Matte(path.stem, color, alpha, how, picture.notes)


def _cut(path: Path, picture: Picture, cutout: str) -> tuple[Tensor, Tensor, str]:
    color, alpha = picture.color, picture.alpha
    if cutout in ("auto", "alpha") and alpha is not None and float(alpha.min()) < 0.5:
        return clean_edges(color, alpha), alpha, "alpha"
    if cutout == "alpha":
        raise InputError(f"{path}: has no transparent pixels, and cutout is 'alpha'; {HELP}")
    cut = cut_out(color) if cutout != "rembg" else None
    if cut is not None:
        return *cut, "background"
    unclear = f"{path}: nothing tells the object from the background (no alpha, and the border is not of one colour)"
    if cutout == "background":
        raise InputError(f"{unclear}; {HELP}")
    try:
        alpha = matted(color)
    except MissingDependency as error:
        raise MissingDependency(f"{path}: {error}" if cutout == "rembg" else
                                f"{unclear}; {HELP}, or install a matting network: {INSTALL}") from None
    return clean_edges(color, alpha), alpha, "rembg"


def require_rembg():
    """The module rembg.

    Raises:
        MissingDependency: it, or the runtime that it needs, is not installed.
    """
    try:
        import rembg
    except (ImportError, SystemExit):  # without a runtime it ends the process
        raise MissingDependency(f"the matting network needs the package rembg, which is not installed; {INSTALL}, or "
                                f"{HELP}") from None
    return rembg


def matted(color: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 1"]:
    """Alpha by the matting network of rembg, from weights that are on this machine.

    Raises:
        MissingDependency: rembg is not installed. InputError: its weights are not there; nothing is downloaded.
    """
    from PIL import Image

    rembg = require_rembg()
    home = Path(os.environ.get("U2NET_HOME") or Path(os.environ.get("XDG_DATA_HOME") or "~", ".u2net")).expanduser()
    weights = home / f"{NETWORK}.onnx"
    if not weights.is_file():
        raise InputError(f"rembg: its weights {weights} are missing, and asset3d downloads nothing by itself; run "
                         f"`rembg d {NETWORK}` once, or {HELP}")
    mask = rembg.remove(Image.fromarray(to_bytes(color)), session=rembg.new_session(NETWORK), only_mask=True)
    pixels = torch.frombuffer(bytearray(mask.convert("L").tobytes()), dtype=torch.uint8)
    return pixels.view(*color.shape[:2], 1).float() / 255


def _limited(picture: Picture) -> Picture:
    """Shrunk so that no side is longer than `WORKING_SIZE`."""
    height, width = picture.color.shape[:2]
    longest = max(height, width)
    if longest <= WORKING_SIZE:
        return picture
    width, height = (max(1, round(side * WORKING_SIZE / longest)) for side in (width, height))
    if picture.alpha is None:
        return Picture(shrunk(picture.color, width, height), None, picture.notes)
    stack = shrunk(torch.cat([picture.color * picture.alpha, picture.alpha, picture.color], -1), width, height)
    alpha = stack[..., 3:4].clamp(0, 1)
    color = torch.where(alpha > 0.02, stack[..., :3] / alpha.clamp(min=0.02), stack[..., 4:]).clamp(0, 1)
    return Picture(color, alpha, picture.notes)


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
