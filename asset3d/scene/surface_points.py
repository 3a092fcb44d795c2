"""Points and normals of a true surface, as view sets of known objects come with."""
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError


def read_surface_points(path: Path) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """`points` and `normals` of an .npz file, in the world of the file.

    Raises:
        InputError: The file is no .npz or is damaged, lacks one of the two, or holds values that are not finite.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            points, normals = (torch.from_numpy(data[key].astype(np.float32)) for key in ("points", "normals"))
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a surface: {error}; it must be an .npz file with `points` and "
                         "`normals`") from None
    if points.ndim != 2 or points.shape[1] != 3 or points.shape != normals.shape or not len(points):
        raise InputError(f"{path}: `points` and `normals` must both be (P, 3), got {tuple(points.shape)} and "
                         f"{tuple(normals.shape)}")
    if not (points.isfinite().all() and normals.isfinite().all()):
        raise InputError(f"{path}: `points` and `normals` must be finite; remove the points that are not")
    return points, normals
