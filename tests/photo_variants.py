"""Posed views made harder, as real photos are: no alpha, a photo for a background, uneven exposure, a distorted lens.

    python tests/photo_variants.py KIND SOURCE TARGET

writes the training views of the view set SOURCE (RGBA, in the layout of ../shared/data/views) to TARGET.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import grid_sample, interpolate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asset3d.scene._lens import Lens
from asset3d.scene._photos import _straight
from asset3d.scene.camera import Camera
from asset3d.scene.conventions import colmap_from_opengl
from asset3d.scene.image import load_image, save_png

RADIAL = -0.12
"""k1 of the distorted lens, more than a phone's: the corners of a 30 degree view of 256 pixels move by 3."""


def masks_only(source: Path, target: Path) -> None:
    """Alpha removed (the object before white), masks in a folder of their own."""
    _write(source, target, lambda index, color, alpha: color * alpha + 1 - alpha, masks=True)


def white_background(source: Path, target: Path) -> None:
    """Alpha removed, no masks: the plain background must tell."""
    _write(source, target, lambda index, color, alpha: color * alpha + 1 - alpha, masks=False)


def photo_background(source: Path, target: Path, photo: Path | None = None) -> None:
    """A different crop of a photo behind the object in every view, masks given; without a photo, coloured clouds."""
    random = np.random.default_rng(0)
    if photo is None:
        coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        behind = interpolate(coarse, size=(768, 768), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
    else:
        behind = load_image(photo).color

    def blend(index, color, alpha):
        height, width = color.shape[:2]
        top, left = random.integers(behind.shape[0] - height), random.integers(behind.shape[1] - width)
        return color * alpha + behind[top:top + height, left:left + width] * (1 - alpha)

    _write(source, target, blend, masks=True)


def exposure(source: Path, target: Path) -> None:
    """Every image brighter or darker by up to 10 % (sRGB values scaled and clipped); alpha kept.

    On average the set is as bright as before: nobody could tell from the photos by how much all of them are off.
    """
    count = len(_cameras(source)[0]["frames"])
    factors = 1 + 0.1 * np.random.default_rng(0).uniform(-1, 1, count)
    factors = (factors / np.exp(np.log(factors).mean())).clip(0.9, 1.1)
    change = lambda index, color, alpha: torch.cat([(color * factors[index]).clamp(0, 1), alpha], -1).float()
    _write(source, target, change, masks=False)


def colmap(source: Path, target: Path, model: str = "SIMPLE_RADIAL", parameters: tuple[float, ...] = (RADIAL,)) -> None:
    """Seen through a lens with radial distortion, as a binary COLMAP model written by pycolmap; alpha kept."""
    document, camera = _cameras(source)
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    lens = Lens(camera.width, camera.height, fx, fy, cx, cy, radial=parameters)
    names = [frame["file_path"] for frame in document["frames"]]
    for name in names:
        picture = load_image(source / name)
        image = through_lens(torch.cat([picture.color, picture.alpha], -1), lens)
        (target / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        save_png(target / "images" / name, image[..., :3], image[..., 3:])
    write_model(target / "sparse/0", camera, model, [fx, cx, cy, *parameters], names)


def through_lens(image: torch.Tensor, lens: Lens) -> torch.Tensor:
    """(H, W, 4) straight RGBA of a pinhole as the lens would have shown it."""
    rows, columns = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (lens.height, lens.width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([(x - lens.cx) / lens.fx, (y - lens.cy) / lens.fy], -1).reshape(-1, 2)
    ideal = lens.undistort(points) * torch.tensor([lens.fx, lens.fy]) + torch.tensor([lens.cx, lens.cy])
    grid = (2 * ideal / torch.tensor([lens.width, lens.height]) - 1).reshape(1, lens.height, lens.width, 2).float()
    stack = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:], image[..., :3]], -1)
    out = grid_sample(stack.permute(2, 0, 1)[None], grid, mode="bicubic", align_corners=False)
    return torch.cat(_straight(out[0].permute(1, 2, 0)), -1)


def write_model(folder: Path, camera: Camera, model: str, parameters: list[float], names: list[str],
                binary: bool = True, points=()) -> None:
    """Write cameras, images and points with pycolmap itself."""
    import pycolmap
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(pycolmap.Camera(
        model=model, width=camera.width, height=camera.height, params=parameters, camera_id=1))
    for index, name in enumerate(names):
        quaternion, translation = colmap_from_opengl(camera.camera_to_world[index].double().numpy())
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(np.roll(quaternion, -1)), translation)
        image = pycolmap.Image(name=name, camera_id=1, image_id=index + 1)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.array([3.0, 4.0]))] * (index % 3))
        reconstruction.add_image_with_trivial_frame(image, pose)
    for point in points:
        reconstruction.add_point3D(point, pycolmap.Track(), np.zeros(3, np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    (reconstruction.write_binary if binary else reconstruction.write_text)(folder)


def _cameras(source: Path) -> tuple[dict, Camera]:
    document = json.loads((source / "transforms_train.json").read_text())
    matrices = torch.tensor([f["transform_matrix"] for f in document["frames"]], dtype=torch.float64)
    intrinsics = torch.tensor([[document[k] for k in ("fl_x", "fl_y", "cx", "cy")]] * len(matrices))
    return document, Camera(matrices, intrinsics, document["w"], document["h"])


def _write(source: Path, target: Path, change, masks: bool) -> None:
    document, _ = _cameras(source)
    for index, frame in enumerate(document["frames"]):
        picture = load_image(source / frame["file_path"])
        image = change(index, picture.color, picture.alpha)
        for folder in (target, target / "masks") if masks else (target,):
            (folder / frame["file_path"]).parent.mkdir(parents=True, exist_ok=True)
        save_png(target / frame["file_path"], image[..., :3], image[..., 3:] if image.shape[-1] == 4 else None)
        if masks:
            save_png(target / "masks" / frame["file_path"], picture.alpha)
    (target / "transforms_train.json").write_text(json.dumps(document))


KINDS = {f.__name__: f for f in (masks_only, white_background, photo_background, exposure, colmap)}

if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
