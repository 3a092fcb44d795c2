"""Depth and normal maps that come with photos. Letters in shapes: H rows, W columns.

A map belongs to the pixels of its image. Nothing is mixed when maps are moved or shrunk: two depths make no third one.
"""
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from asset3d.errors import InputError
from asset3d.scene._untrusted import LARGEST
from asset3d.scene.conventions import WORLDS
from asset3d.scene.image import load_image, load_whole_numbers

WHOLE_NUMBER_UNIT = 0.001
"""Input units per whole number of a depth map where the file does not say: millimetres, as nerfstudio has it."""
LENGTH_ERROR = 0.2
"""Normals whose length differs from 1 by more stand for nothing: black and grey pixels do."""


@dataclass(frozen=True)
class MapFiles:
    """The maps of one photo, as its camera file names them."""

    depth: Path | None = None
    """PNG of whole numbers, or .npy; along the optical axis, 0 where there is nothing."""
    depth_unit: float | None = None
    """Input units per 1 of the file; by default WHOLE_NUMBER_UNIT for whole numbers and 1 for floats."""
    normal: Path | None = None
    """PNG of (n + 1) / 2, or .npy of n; in the world of the file."""
    up_axis: str = "y"
    """Of that world."""


def read_depth(maps: MapFiles, width: int, height: int) -> Float[Tensor, "H W 1"] | None:
    """Depths in input units, 0 where unknown; None without a file.

    Raises:
        InputError: The file cannot be read, or does not have the size of its image.
    """
    if maps.depth is None:
        return None
    if maps.depth.suffix.lower() == ".npy":
        values, whole = _array(maps.depth)
    else:
        values, whole = load_whole_numbers(maps.depth).numpy(), True
    values = _fitting(maps.depth, values, width, height, 1)
    unit = maps.depth_unit or (WHOLE_NUMBER_UNIT if whole else 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        depth = values.astype(np.float64) * unit
    known = (depth > 0) & (depth < LARGEST)
    return torch.from_numpy(np.where(known, depth, 0).astype(np.float32))


def read_normal(maps: MapFiles, width: int, height: int) -> Float[Tensor, "H W 3"] | None:
    """Unit normals in the +Y up world, 0 where there is none; None without a file. Raises as `read_depth` does."""
    if maps.normal is None:
        return None
    if maps.normal.suffix.lower() == ".npy":
        values = _array(maps.normal)[0]
    else:
        values = load_image(maps.normal).color.double().numpy() * 2 - 1
    values = _fitting(maps.normal, values, width, height, 3).astype(np.float64)
    values = np.where(abs(values) <= 1 + LENGTH_ERROR, values, 0)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    there = abs(length - 1) <= LENGTH_ERROR
    unit = np.where(there, values / np.where(there, length, 1), 0)
    axes = WORLDS["blender" if maps.up_axis == "z" else "gltf"].matrix
    return torch.from_numpy((unit @ axes).astype(np.float32))


def _array(path: Path) -> tuple[np.ndarray, bool]:
    """The array of a .npy file, and whether it holds whole numbers."""
    try:  # mapped, so that a header cannot ask for more memory than the file has bytes
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("it holds several arrays")
    except (OSError, ValueError, EOFError, SyntaxError, BadZipFile) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: is no readable .npy file ({why}); save it with numpy.save") from None
    if values.dtype.kind not in "uif":
        raise InputError(f"{path}: holds {values.dtype}, not numbers; save it as float32")
    return values, values.dtype.kind != "f"


def _fitting(path: Path, values: np.ndarray, width: int, height: int, channels: int) -> np.ndarray:
    """(H, W, channels), InputError where the map is not as large as its image."""
    if channels == 1 and values.ndim == 2:
        values = values[..., None]
    if values.shape != (height, width, channels):
        raise InputError(f"{path}: has the shape {values.shape}, but its image needs {(height, width, channels)}; "
                         "render the map at the size of the image")
    return values


def shrunk_map(values: Float[Tensor, "H W C"], width: int, height: int) -> Float[Tensor, "h w C"]:
    """A smaller map, each pixel the one nearest to its centre."""
    out = interpolate(values.permute(2, 0, 1)[None], size=(height, width), mode="nearest-exact")
    return out[0].permute(1, 2, 0).contiguous()
