"""Writes view sets: PNGs with straight alpha and transforms_*.json, as `load_view_set` reads them.

The world of the files is that of the cameras: +Y up, camera-to-world matrices with OpenGL axes, pixel intrinsics.
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.scene.camera import Camera
from asset3d.scene.image import save_png

HALF_DOWN = 1e-4
"""Taken from alpha before it is rounded to 8 bits: half-covered pixels become 127, outside for a threshold of 1/2."""


def _lens(intrinsics: Float[Tensor, "4"], width: int) -> dict:
    fx, fy, cx, cy = intrinsics.tolist()
    return {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "camera_angle_x": 2 * math.atan(width / 2 / fx)}


def transforms_document(camera: Camera, files: list[str]) -> dict:
    """The content of a transforms.json: the lens once where all frames share it, else with every frame."""
    lenses = [_lens(row, camera.width) for row in camera.intrinsics.double()]
    shared = lenses[0] if all(lens == lenses[0] for lens in lenses) else {}
    frames = [{"file_path": file, **({} if shared else lens), "transform_matrix": matrix.tolist()}
              for file, lens, matrix in zip(files, lenses, camera.camera_to_world.double())]
    return {"w": camera.width, "h": camera.height, **shared, "up_axis": "y", "frames": frames}


def write_split(folder: Path, split: str, camera: Camera, color: Float[Tensor, "B H W 3"],
                alpha: Float[Tensor, "B H W 1"]) -> None:
    """Write `<split>/000.png` … and `transforms_<split>.json` into a folder.

    Args:
        folder: Of the view set; created when missing.
        split: `train` or `test`.
        camera: B cameras.
        color: sRGB, straight.
        alpha: Of the images.
    """
    folder = Path(folder)
    (folder / split).mkdir(parents=True, exist_ok=True)
    files = [f"{split}/{i:03d}.png" for i in range(len(camera))]
    for file, image, opacity in zip(files, color, alpha):
        save_png(folder / file, image, opacity - HALF_DOWN)
    text = json.dumps(transforms_document(camera, files), indent=1)
    (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")


def seen_points(coordinate: Float[Tensor, "B H W 3"], normal: Float[Tensor, "B H W 3"],
                    alpha: Float[Tensor, "B H W 1"], cell: float = 0.004, most: int = 60_000
                    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """Points and normals that views see: one per cell of a grid, at most `most`, from fully covered pixels."""
    seen = alpha[..., 0] > 0.99
    points, normals = coordinate[seen].numpy(), normal[seen].numpy()
    _, first = np.unique(np.floor(points / cell).astype(np.int64), axis=0, return_index=True)
    if len(first) > most:
        first = first[np.arange(most) * len(first) // most]
    return torch.from_numpy(points[first]), torch.from_numpy(normals[first])


def write_surface_points(folder: Path, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"]) -> None:
    """Write `surface_points.npz`: `points` float32 and `normals` float16, for geometric scores."""
    np.savez_compressed(Path(folder) / "surface_points.npz", points=points.numpy().astype(np.float32),
                        normals=normals.numpy().astype(np.float16))
