"""A view set whose truth is known in closed form: a ball with a colour per normal, ray cast exactly."""
import json
from pathlib import Path

import numpy as np
import torch

from asset3d.scene.camera import Camera, orbit
from asset3d.scene.image import save_png

CENTER = (3.0, -2.0, 5.0)
RADIUS = 1.5


def cameras(count: int = 20, size: int = 64) -> Camera:
    """Around the ball, in input units."""
    index = torch.arange(count, dtype=torch.float64)
    azimuth = (index * 137.50776) % 360
    camera = orbit(azimuth, torch.rad2deg(torch.asin(1.98 * (index + 0.5) / count - 0.99)), 4.0 * RADIUS, 40.0, size)
    matrix = camera.camera_to_world.clone()
    matrix[:, :3, 3] += torch.tensor(CENTER)
    return Camera(matrix, camera.intrinsics, size, size)


def ball(camera: Camera) -> torch.Tensor:
    """(B, H, W, 4) straight sRGB and coverage of the ball at the pixel centres (4 x 4 samples for the coverage)."""
    fine = camera.resized(camera.height * 4, camera.width * 4)
    origins, directions = fine.rays()
    offset = origins - torch.tensor(CENTER)
    along = (offset * directions).sum(-1)
    inside = along ** 2 - (offset ** 2).sum(-1) + RADIUS ** 2
    hit = inside > 0
    normal = (offset + directions * (-along - inside.clamp(min=0).sqrt())[..., None]) / RADIUS
    color = torch.where(hit[..., None], 0.5 + 0.4 * normal, 0.0)
    stack = torch.cat([color, hit[..., None].float()], -1)
    b, h, w, _ = stack.shape
    stack = stack.reshape(b, h // 4, 4, w // 4, 4, 4).mean((2, 4))
    return torch.cat([stack[..., :3] / stack[..., 3:].clamp(min=1 / 16), stack[..., 3:]], -1)


def write(folder: Path, *, axis: str | None = "y", suffix: str = ".png", background=None, count: int = 20,
          size: int = 64, **keys) -> list[dict]:
    """Write images and transforms.json; `background` flattens alpha onto a (H, W, 3) image; returns the frames."""
    camera = cameras(count, size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    frames = []
    for index, image in enumerate(ball(camera)):
        color, alpha = image[..., :3], image[..., 3:]
        if background is not None:
            color, alpha = color * alpha + background * (1 - alpha), None
        save_png(folder / "images" / f"{index:03d}.png", color, alpha)
        matrix = camera.camera_to_world[index].double().numpy()
        if axis != "y":  # asset3d's (x, y, z) is Blender's (x, -z, y)
            turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
            matrix = turn @ matrix
        frames.append({"file_path": f"./images/{index:03d}{suffix}", "transform_matrix": matrix.tolist()})
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    if not keys:
        keys = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": size, "h": size}
    document = {**keys, "frames": frames} | ({"up_axis": axis} if axis else {})
    (folder / "transforms.json").write_text(json.dumps(document))
    return frames
