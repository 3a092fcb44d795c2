"""COLMAP models written by pycolmap, with lens distortion, read back and undistorted."""
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from asset3d.errors import InputError
from asset3d.scene._lens import Lens
from asset3d.scene.camera import Camera
from asset3d.scene.image import load_image, save_png
from asset3d.scene.views import FILL, load_view_set
from photo_variants import through_lens, write_model
from scene import sphere_set

pytest.importorskip("pycolmap")

MODELS = {
    "SIMPLE_PINHOLE": [],
    "PINHOLE": [],
    "SIMPLE_RADIAL": [-0.12],
    "RADIAL": [-0.15, 0.05],
    "OPENCV": [-0.15, 0.05, 0.004, -0.003],
    "FULL_OPENCV": [-0.15, 0.05, 0.004, -0.003, 0.01, 0.02, 0.01, 0.0],
    "OPENCV_FISHEYE": [0.05, -0.02, 0.003, 0.001],
    "SIMPLE_RADIAL_FISHEYE": [0.05],
    "RADIAL_FISHEYE": [0.05, -0.02],
}


def lens_of(model: str, camera: Camera) -> Lens:
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    k = MODELS[model]
    if "FISHEYE" in model:
        return Lens(camera.width, camera.height, fx, fy, cx, cy, fisheye=tuple(k))
    return Lens(camera.width, camera.height, fx, fy, cx, cy, radial=(*k[:2], *k[4:5]), rational=tuple(k[5:]),
                tangential=tuple(k[2:4]) or (0.0, 0.0))


def write_ball(folder: Path, model: str, binary: bool, size: int = 64) -> Camera:
    camera = sphere_set.cameras(size=size)
    lens = lens_of(model, camera)
    (folder / "images").mkdir(parents=True)
    names = [f"view {i:03d}.png" for i in range(len(camera))]
    for name, image in zip(names, sphere_set.ball(camera)):
        image = through_lens(image, lens) if lens.distorted else image
        save_png(folder / "images" / name, image[..., :3], image[..., 3:])
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    focal = [fx] if model.startswith(("SIMPLE", "RADIAL")) else [fx, fy]
    points = np.array(sphere_set.CENTER) + np.random.default_rng(0).normal(size=(20, 3))
    write_model(folder / "sparse/0", camera, model, [*focal, cx, cy, *MODELS[model]], names, binary, points)
    return camera


def over_white(color, alpha):
    return color * alpha + 1 - alpha


def psnr(a, b):
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


@pytest.mark.parametrize("model, binary", [*((model, True) for model in MODELS), ("PINHOLE", False), ("OPENCV", False)])
def test_models(tmp_path, model, binary):
    """Poses to float32 rounding; pixels after undistortion at least 34 dB from a pinhole's (twice resampled)."""
    camera = write_ball(tmp_path, model, binary)
    views = load_view_set(tmp_path)
    train, frame = views.train, views.frame
    assert train.names[7] == "view 007"
    assert frame.center == pytest.approx(sphere_set.CENTER, abs=0.03)
    assert 0.98 < frame.scale * FILL / (2 * sphere_set.RADIUS) < 1.06
    assert frame.to_input(train.camera.position).allclose(camera.position, atol=1e-5)
    assert train.camera.camera_to_world[:, :3, :3].allclose(camera.camera_to_world[:, :3, :3], atol=1e-6)
    truth = sphere_set.ball(Camera(camera.camera_to_world, train.camera.intrinsics, train.camera.width,
                                   train.camera.height))
    quality = psnr(over_white(train.color, train.alpha), over_white(truth[..., :3], truth[..., 3:]))
    assert quality > (34 if lens_of(model, camera).distorted else 50), quality


def test_masks_of_a_colmap_set(tmp_path):
    """COLMAP names masks image.png.png; they are undistorted with their images."""
    write_ball(tmp_path, "SIMPLE_RADIAL", True)
    expected = load_view_set(tmp_path).train
    (tmp_path / "masks").mkdir()
    for file in sorted((tmp_path / "images").iterdir()):
        picture = load_image(file)
        save_png(tmp_path / "masks" / f"{file.name}.png", picture.alpha)
        save_png(file, picture.color * picture.alpha + 0.3 * (1 - picture.alpha))
    views = load_view_set(tmp_path).train
    assert (views.alpha - expected.alpha).abs().max() < 0.01
    inside = (expected.alpha > 0.99).float()
    assert ((views.color - expected.color) * inside).abs().mean() < 1e-3


def test_model_folder_itself(tmp_path):
    write_ball(tmp_path, "PINHOLE", True)
    shutil.move(tmp_path / "sparse/0", tmp_path / "model")
    assert len(load_view_set(tmp_path / "model").train) == 20


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
def test_truncated_models_are_refused(tmp_path, file):
    write_ball(tmp_path, "OPENCV", True, size=32)
    path = tmp_path / "sparse/0" / file
    content = path.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 25)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=file):
            load_view_set(tmp_path)


@pytest.mark.parametrize("file, old, new, message", [
    ("cameras.txt", "OPENCV", "FOV", "FOV"),
    ("cameras.txt", "0.004", "x", "numbers expected"),
    ("images.txt", "view 003.png", "view 999.png", "missing"),
    ("images.txt", "view 003.png", "../../secret.png", "out of"),
    ("images.txt", "view 003.png", "view 004.png", "twice"),
])
def test_wrong_text_models_are_refused(tmp_path, file, old, new, message):
    write_ball(tmp_path, "OPENCV", False, size=32)
    path = tmp_path / "sparse/0" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        load_view_set(tmp_path)


def test_lens_inverse():
    points = torch.tensor([[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4]], dtype=torch.float64)
    for model in MODELS:
        lens = lens_of(model, sphere_set.cameras())
        assert lens.undistort(lens.distort(points)).allclose(points, atol=1e-7)


def test_sparse_points_are_given_in_the_inside_frame(tmp_path):
    """They start Gaussians: in the frame that the cameras were moved to."""
    write_ball(tmp_path, "PINHOLE", True)
    views = load_view_set(tmp_path)
    expected = torch.from_numpy(np.array(sphere_set.CENTER) + np.random.default_rng(0).normal(size=(20, 3)))
    order = lambda points: points[points[:, 0].argsort()]
    torch.testing.assert_close(order(views.frame.placed(views.points.double())), order(expected), atol=1e-5, rtol=0)
    assert views.to("cpu").points is not None
