"""One posed photo before its pixels are read, and how its pixels are read. Letters in shapes: H rows, W columns."""
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene._lens import Lens, pinhole_for, shrunk, undistorted
from asset3d.scene._maps import MapFiles, read_depth, read_normal, shrunk_map
from asset3d.scene._masks import clean_edges, cut_out
from asset3d.scene._untrusted import is_file, is_name, printable
from asset3d.scene.image import SUFFIXES, Picture, load_gray, load_image, upright_size

CUTOUTS = ("auto", "masks", "alpha", "background")
MASK_HELP = ("give one of: images with an alpha channel; a folder `masks` beside the images with a PNG of the same "
             "name for each (white = object); or photos before a plain, evenly coloured background")


@dataclass(frozen=True)
class Photo:
    """What a camera file says about one image."""

    name: str
    """Unique in its set: the path inside the set, without suffix."""
    image: Path
    camera_to_world: np.ndarray
    """(4, 4), OpenGL axes, world +Y up, units of the input."""
    lens: Lens
    mask: Path | None = None
    split: str = "train"
    maps: MapFiles = MapFiles()


@dataclass(frozen=True)
class Pixels:
    """One image ready for fitting: undistorted, at most so large, with its mask."""

    color: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W 1"]
    valid: Bool[Tensor, "H W 1"]
    lens: Lens
    depth: Float[Tensor, "H W 1"] | None = None
    """Along the optical axis, in units of the input, 0 where unknown."""
    normal: Float[Tensor, "H W 3"] | None = None
    """World space, +Y up, unit, 0 where there is none."""
    notes: tuple[str, ...] = ()


def inside(folder: Path, relative: str, where: str) -> Path:
    """The path of a file named in a camera file; InputError when it points out of the folder of the view set."""
    text = relative.replace("\\", "/")
    path = PurePosixPath(text)
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else part not in (".", "/")
        if depth < 0:
            break
    name = printable(text)
    if not path.parts or not is_name(text):
        raise InputError(f"{where}: '{name}' is not the name of a file; name one inside the folder of the view set")
    if path.is_absolute() or depth < 0 or ":" in path.parts[0]:
        raise InputError(f"{where}: '{name}' points out of {folder}; use a path inside the folder of the view set")
    return folder / path


def find_image(folder: Path, relative: str, where: str) -> Path:
    """An image named with or without its suffix."""
    path = inside(folder, relative, where)
    for suffix in ("", *SUFFIXES, *(s.upper() for s in SUFFIXES)):
        candidate = path.with_name(path.name + suffix)
        if is_file(candidate):
            return candidate
    raise InputError(f"{where}: image '{printable(relative)}' is missing in {folder}; "
                     f"looked for it as it is and with {', '.join(SUFFIXES)}")


def find_mask(folders: tuple[Path, ...], photo: Photo) -> Path | None:
    """The mask of a photo in the first folder that exists: `a/b.png`, `b.png`, or COLMAP's `b.jpg.png`."""
    folder = next((f for f in folders if f.is_dir()), None)
    if folder is None:
        return None
    image = PurePosixPath(photo.name)
    names = [image.name + ".png", photo.image.name + ".png", f"{photo.name}{photo.image.suffix}.png",
             photo.name + ".png", f"{photo.image.parent.name}/{image.name}.png"]
    for name in names[::-1]:
        if is_file(folder / name):
            return folder / name
    raise InputError(f"{folder}: has no mask for image '{photo.name}'; add {image.name}.png (white = object), "
                     "or remove the folder to use alpha or a plain background")


def read_photo(photo: Photo, mask: Path | None, cutout: str, max_size: int | None) -> Pixels:
    """Decode, mask, undistort and shrink one photo.

    Raises:
        InputError: The file is unreadable, its size does not fit the calibration, or nothing tells object from
            background.
    """
    picture = load_image(photo.image, (photo.lens.width, photo.lens.height))
    height, width = picture.color.shape[:2]
    lens = _fitting(photo, width, height)
    notes = tuple(f"{photo.name}: {note}" for note in picture.notes)
    color, alpha = _with_alpha(photo, mask, cutout, picture)
    if not bool((alpha > 0.5).any()):
        raise InputError(f"{mask or photo.image}: the mask is empty; remove this view, or give a mask that is white "
                         "where the object is")
    valid = torch.ones_like(alpha, dtype=torch.bool)
    if lens.distorted:
        lens, stack, valid = undistorted(lens, torch.cat([color * alpha, alpha, color], -1))
        color, alpha = _straight(stack)
    color, alpha, valid, lens = _limited(color, alpha, valid, lens, max_size)
    depth, normal = (_like_the_photo(given, photo, lens, (width, height))
                     for given in (read_depth(photo.maps, width, height), read_normal(photo.maps, width, height)))
    return Pixels(color, alpha, valid, lens, depth, normal, notes)


def planned_lens(photo: Photo, max_size: int | None) -> Lens:
    """The lens and size that `read_photo` ends with, from the header of the image alone; raises as it does."""
    lens = _fitting(photo, *upright_size(photo.image, (photo.lens.width, photo.lens.height)))
    return _limited_lens(pinhole_for(lens) if lens.distorted else lens, max_size)


def _like_the_photo(given: Tensor | None, photo: Photo, lens: Lens, size: tuple[int, int]) -> Tensor | None:
    """A map undistorted and shrunk as its photo was, to the pixels of `lens`."""
    if given is None:
        return None
    original = _fitting(photo, *size)
    if original.distorted:
        given = undistorted(original, given, "nearest")[1]
    return given if given.shape[:2] == (lens.height, lens.width) else shrunk_map(given, lens.width, lens.height)


def _fitting(photo: Photo, width: int, height: int) -> Lens:
    """The lens for the image's real size, when that is the calibrated size or a smaller copy of it."""
    lens = photo.lens
    if (width, height) == (lens.width, lens.height):
        return lens
    if abs(width * lens.height - height * lens.width) > 1.5 * max(lens.width, lens.height):
        raise InputError(f"{photo.image}: is {width} x {height}, but its camera was calibrated for {lens.width} x "
                         f"{lens.height}; use the images that the cameras were made from")
    return lens.resized(width, height)


def _with_alpha(photo: Photo, mask: Path | None, cutout: str, picture: Picture) -> tuple[Tensor, Tensor]:
    """Colours and alpha from a mask file, else the image's own alpha, else a clean background."""
    color, alpha = picture.color, picture.alpha
    if mask is not None:
        gray = load_gray(mask, (photo.lens.width, photo.lens.height))
        if gray.shape != color[..., :1].shape:
            raise InputError(f"{mask}: the mask is {gray.shape[1]} x {gray.shape[0]}, its image {color.shape[1]} x "
                             f"{color.shape[0]}; make them the same size")
        return clean_edges(color, gray), gray
    if cutout == "masks":
        raise InputError(f"{photo.image}: has no mask file, and cutout is 'masks'; {MASK_HELP}")
    if cutout != "background" and alpha is not None and float(alpha.min()) < 0.5:
        return color, alpha
    if cutout == "alpha":
        raise InputError(f"{photo.image}: has no transparent pixels, and cutout is 'alpha'; {MASK_HELP}")
    cut = cut_out(color)
    if cut is None:
        raise InputError(f"{photo.image}: nothing tells the object from the background (no alpha, no mask, and the "
                         f"border of the image is not of one colour); {MASK_HELP}")
    return cut


def _straight(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and alpha from resampled [color * alpha, alpha, color]."""
    alpha = stack[..., 3:4].clamp(0, 1)
    alpha = torch.where(alpha < 1e-3, 0, alpha)
    color = torch.where(alpha > 0.02, stack[..., :3] / alpha.clamp(min=0.02), stack[..., 4:])
    return color.clamp(0, 1), alpha


def _limited(color: Tensor, alpha: Tensor, valid: Tensor, lens: Lens, max_size: int | None):
    """Shrunk so that no side is longer than max_size pixels."""
    limited = _limited_lens(lens, max_size)
    if limited == lens:
        return color, alpha, valid, lens
    width, height = limited.width, limited.height
    color, alpha = _straight(shrunk(torch.cat([color * alpha, alpha, color], -1), width, height))
    return color, alpha, shrunk(valid.float(), width, height) > 0.99, limited


def _limited_lens(lens: Lens, max_size: int | None) -> Lens:
    longest = max(lens.width, lens.height)
    if max_size is None or longest <= max_size:
        return lens
    return lens.resized(*(max(1, round(side * max_size / longest)) for side in (lens.width, lens.height)))
