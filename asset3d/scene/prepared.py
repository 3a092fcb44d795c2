"""One photo of an object, or a few, as the posed views that a reconstruction starts from.

Letters in shapes: B photos, H rows, W columns, S rows and columns of the prepared views.
"""
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene.camera import Camera, orbit
from asset3d.scene.camera_file import PhotoCamera
from asset3d.scene.matting import Matte
from asset3d.scene.photo_remarks import box_of
from asset3d.scene.rigs import ZERO123_DISTANCE, ZERO123_FOV
from asset3d.scene.views import Views

FILL = 0.6
"""Longest side of an object's outline per side of the image in the rig of Zero-1-to-3, where its box is centred and its
longest side 1: the mean over 576 training views of 96 toybox objects at elevations of -10 to 45 degrees is 0.607, over
the whole sphere 0.568."""
OPAQUE, UNKNOWN = 0.5, 0.15
"""Alpha from which on a pixel's colour is that of the object, and below which nothing is known of it."""
EXTENT = (0.35, 1.8)
"""Of an object whose longest side is 1: longest side of its outline where the camera looks at, with perspective."""


def framed_by_box(mattes: Sequence[Matte], azimuths: Sequence[float], elevations: Sequence[float], size: int) -> Views:
    """Views of the rig of Zero-1-to-3: cropped to the object's box, centred, and scaled to the size that an object of
    longest side 1 has there.

    Several photos are scaled so that the object is equally high on all of them, which it is on photos of one object
    from about one elevation.
    """
    boxes = [box_of(matte.alpha) for matte in mattes]
    sides = [(right - left, bottom - top) for left, top, right, bottom in boxes]
    widest = max(max(width, height) / height for width, height in sides)
    windows = [((left + right) / 2, (top + bottom) / 2, height * widest / FILL)
               for (left, top, right, bottom), (_, height) in zip(boxes, sides)]
    return _views(mattes, windows, orbit(list(azimuths), list(elevations), ZERO123_DISTANCE, ZERO123_FOV, size))


def framed_by_camera(mattes: Sequence[Matte], cameras: Sequence[PhotoCamera], size: int) -> Views:
    """Views of the photos' own cameras, turned together so that the first looks from azimuth 0. Photos that are not
    square are padded to be."""
    windows, intrinsics = [], []
    for matte, camera in zip(mattes, cameras):
        height, width = matte.color.shape[:2]
        side = max(height, width)
        windows.append((width / 2, height / 2, side))
        focal = height / side * size / 2 / np.tan(np.radians(camera.fov) / 2)
        intrinsics.append([focal, focal, size / 2, size / 2])
    turned = [camera.turned(-cameras[0].azimuth).camera_to_world for camera in cameras]
    matrices = torch.from_numpy(np.stack(turned)).float()
    return _views(mattes, windows, Camera(matrices, torch.tensor(intrinsics, dtype=torch.float32), size, size))


def _views(mattes: Sequence[Matte], windows: list[tuple[float, float, float]], camera: Camera) -> Views:
    pictures = [_cut_to(matte, *window, camera.height) for matte, window in zip(mattes, windows)]
    color, alpha = (torch.stack(parts) for parts in zip(*pictures))
    return Views(camera, color, alpha, _unique([matte.name for matte in mattes]))


def _unique(names: list[str]) -> tuple[str, ...]:
    """Photos of one name in different folders get numbers."""
    return tuple(name if names.count(name) == 1 else f"{name}-{names[:k].count(name) + 1}"
                 for k, name in enumerate(names))


def _cut_to(matte: Matte, x: float, y: float, side: float, size: int) -> tuple[Tensor, Tensor]:
    """The square of a photo around a point (columns, rows), resampled; straight colours, alpha."""
    stack = torch.cat([matte.color * matte.alpha, matte.alpha], -1).numpy()
    stack = torch.from_numpy(_resampled(stack, x - side / 2, y - side / 2, side, size))
    color = (stack[..., :3] / stack[..., 3:].clamp(min=UNKNOWN)).clamp(0, 1)  # both overshoot alike at sharp edges
    alpha = stack[..., 3:].clamp(0, 1)
    alpha = torch.where(alpha < 1e-3, 0.0, alpha)
    if not bool((alpha > OPAQUE).any()):
        raise InputError(f"{matte.name}: nothing is left of the object at {size} x {size} pixels; crop the photo, or "
                         "set a larger size")
    return spread(color, alpha), alpha


def _resampled(image: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """A square window of an image (H, W, C), zero outside of it, by bicubic interpolation with antialiasing."""
    from PIL import Image

    height, width = image.shape[:2]
    x0, y0, n = int(np.floor(left)) - 1, int(np.floor(top)) - 1, int(np.ceil(side)) + 3
    padded = np.zeros((n, n, image.shape[2]), np.float32)
    columns, rows = slice(max(x0, 0), min(x0 + n, width)), slice(max(y0, 0), min(y0 + n, height))
    padded[rows.start - y0:rows.stop - y0, columns.start - x0:columns.stop - x0] = image[rows, columns]
    box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    channels = [Image.fromarray(np.ascontiguousarray(padded[..., c])) for c in range(image.shape[2])]
    return np.stack([np.asarray(c.resize((size, size), Image.Resampling.BICUBIC, box)) for c in channels], -1)


def spread(color: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W 1"]) -> Float[Tensor, "H W 3"]:
    """Colours with those of the nearest pixels of the object where alpha says next to nothing, so that nothing else
    bleeds in when they are resampled."""
    from scipy.ndimage import distance_transform_edt

    known = alpha[..., 0].numpy() > OPAQUE
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return torch.where(alpha < UNKNOWN, color[tuple(torch.from_numpy(index).long() for index in nearest)], color)


def extent(views: Views) -> Float[Tensor, "B"]:
    """Longest side of each outline in world units, measured at the distance of the origin."""
    boxes = [box_of(alpha) for alpha in views.alpha]
    longest = torch.tensor([float(max(right - left, bottom - top)) for left, top, right, bottom in boxes])
    return longest / views.camera.intrinsics[:, 1].cpu() * views.camera.position.norm(dim=-1).cpu()
