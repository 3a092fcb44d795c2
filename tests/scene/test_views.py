"""View sets: dialects of transforms.json, masks, the fitted frame, and what is refused."""
import json
import math
import shutil

import pytest
import torch
from real_data import shared

from asset3d.errors import InputError
from asset3d.scene.image import save_png
from asset3d.scene.views import FILL, load_view_set
from scene import sphere_set
from torch.nn.functional import interpolate

ANGLE = math.radians(40)


def check_ball(views, tolerance=0.02):
    """The frame is that of the ball, and the cameras see its centre in the middle of its mask."""
    assert views.frame.center == pytest.approx(sphere_set.CENTER, abs=tolerance * sphere_set.RADIUS)
    # The hull of 20 views is a little larger than the ball, and masks end at whole pixels.
    assert 1 - tolerance <= views.frame.scale * FILL / (2 * sphere_set.RADIUS) < 1.06
    inside = views.frame.unplaced(torch.tensor([sphere_set.CENTER]))
    pixels, depth = views.train.camera.project(inside)
    assert depth.allclose(torch.tensor(4 * sphere_set.RADIUS / views.frame.scale), atol=1e-3)
    assert pixels.allclose(torch.full_like(pixels, views.train.camera.height / 2), atol=1e-2)


@pytest.mark.parametrize("axis", ["y", "z", None])
@pytest.mark.parametrize("suffix", [".png", ""])
def test_dialects(tmp_path, axis, suffix):
    sphere_set.write(tmp_path, axis=axis, suffix=suffix)
    views = load_view_set(tmp_path)
    check_ball(views)
    assert views.train.names[3] == "images/003" and views.test is None and views.train.valid is None


def test_colours_and_alpha_are_those_of_the_files(tmp_path):
    sphere_set.write(tmp_path)
    views = load_view_set(tmp_path)
    truth = sphere_set.ball(sphere_set.cameras())
    assert (views.train.alpha - truth[..., 3:]).abs().max() <= 0.5 / 255 + 1e-6
    assert ((views.train.color - truth[..., :3]) * (truth[..., 3:] > 0)).abs().max() <= 0.5 / 255 + 1e-6


def test_camera_angle_and_per_frame_intrinsics(tmp_path):
    frames = sphere_set.write(tmp_path / "a", camera_angle_x=ANGLE)
    by_angle = load_view_set(tmp_path / "a").train.camera.intrinsics
    frames = [{**f, "fl_x": 80.0 + i, "cx": 30.0} for i, f in enumerate(frames)]
    document = {"up_axis": "y", "camera_angle_x": ANGLE, "h": 64, "w": 64, "frames": frames}
    (tmp_path / "a/transforms.json").write_text(json.dumps(document))
    per_frame = load_view_set(tmp_path / "a", fit=False).train.camera.intrinsics
    focal = 32 / math.tan(ANGLE / 2)
    assert by_angle.allclose(torch.tensor([focal, focal, 32.0, 32.0]))
    assert per_frame[:, 0].tolist() == [80.0 + i for i in range(20)] and (per_frame[:, 2] == 30).all()
    assert (per_frame[:, 3] == 32).all()


def test_splits(tmp_path):
    frames = sphere_set.write(tmp_path)
    held_out = load_view_set(tmp_path, holdout=4)
    assert held_out.test.names == tuple(f"images/{i:03d}" for i in (2, 6, 10, 14, 18)) and len(held_out.train) == 15
    document = json.loads((tmp_path / "transforms.json").read_text())
    (tmp_path / "transforms.json").unlink()
    (tmp_path / "transforms_train.json").write_text(json.dumps({**document, "frames": frames[:18]}))
    (tmp_path / "transforms_val.json").write_text(json.dumps({**document, "frames": frames[18:]}))
    split = load_view_set(tmp_path, holdout=4)
    assert split.test.names == ("images/018", "images/019") and len(split.train) == 18


def test_masks_folder_and_mask_path(tmp_path):
    clouds = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    clouds = interpolate(clouds, size=(64, 64), mode="bilinear")[0].permute(1, 2, 0)
    frames = sphere_set.write(tmp_path, background=clouds)
    with pytest.raises(InputError, match="masks"):
        load_view_set(tmp_path)
    (tmp_path / "masks").mkdir()
    truth = sphere_set.ball(sphere_set.cameras())
    for index, image in enumerate(truth):
        save_png(tmp_path / f"masks/{index:03d}.png", image[..., 3:])
    views = load_view_set(tmp_path)
    check_ball(views)
    assert (views.train.alpha - truth[..., 3:]).abs().max() <= 0.5 / 255 + 1e-6
    # Colours at the silhouette are freed of the background: left in, it would cost 0.3.
    edge = (truth[..., 3:] > 0.3) & (truth[..., 3:] < 0.98)
    assert ((views.train.color - truth[..., :3]).abs() * edge).max() < 0.1
    shutil.move(tmp_path / "masks", tmp_path / "cutouts")
    document = json.loads((tmp_path / "transforms.json").read_text())
    document["frames"] = [{**f, "mask_path": f"cutouts/{i:03d}.png"} for i, f in enumerate(frames)]
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    assert torch.equal(load_view_set(tmp_path).train.alpha, views.train.alpha)
    (tmp_path / "cutouts/003.png").unlink()
    with pytest.raises(InputError, match="003"):
        load_view_set(tmp_path)


@pytest.mark.parametrize("background", [1.0, 0.0, (0.2, 0.7, 0.3)])
def test_clean_background(tmp_path, background):
    plain = torch.ones(64, 64, 3) * torch.tensor(background)
    sphere_set.write(tmp_path, background=plain)
    views = load_view_set(tmp_path)
    truth = sphere_set.ball(sphere_set.cameras())
    check_ball(views)
    hard = (views.train.alpha > 0.5) == (truth[..., 3:] > 0.5)
    assert hard.float().mean() > 0.995
    assert (views.train.alpha - truth[..., 3:]).abs().mean() < 0.004


def test_different_sizes_are_padded(tmp_path):
    sphere_set.write(tmp_path)
    small = sphere_set.ball(sphere_set.cameras(size=32))
    for index in range(6):
        save_png(tmp_path / f"images/{index:03d}.png", small[index, ..., :3], small[index, ..., 3:])
    views = load_view_set(tmp_path).train
    check_ball_sizes = views.valid.sum((1, 2, 3))
    assert check_ball_sizes.tolist() == [32 * 32] * 6 + [64 * 64] * 14
    assert views.camera.intrinsics[0, 2] == 16 and views.camera.intrinsics[6, 2] == 32
    assert not views.alpha[:6, 32:].any() and not views.alpha[:6, :, 32:].any()


def test_max_size(tmp_path):
    sphere_set.write(tmp_path)
    views = load_view_set(tmp_path, max_size=32)
    assert views.train.color.shape == (20, 32, 32, 3)
    check_ball(views, tolerance=0.03)


@pytest.mark.parametrize("change, message", [
    (lambda d: d.pop("frames"), "frames"),
    (lambda d: d.update(frames=[]), "at least one"),
    (lambda d: d.update(up_axis="x"), "up_axis"),
    (lambda d: d.update(fl_x=-3), "positive"),
    (lambda d: (d.update(fl_x=0), d.pop("fl_y")), "positive"),
    (lambda d: d.update(cx=1e300), "finite number of at most"),
    (lambda d: d.update(cx=1e8), "at most 1e.07 pixels"),
    (lambda d: d.update(fl_x=float("nan")), "finite"),
    (lambda d: (d.pop("fl_x"), d.pop("fl_y")), "camera_angle_x"),
    (lambda d: d.update(w=640, h=480), "640 x 480"),
    (lambda d: d.update(camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR"),
    (lambda d: d["frames"][2].pop("file_path"), r"frames\[2\]"),
    (lambda d: d["frames"][2].update(file_path="images/nothing"), "missing"),
    (lambda d: d["frames"][2].update(file_path="../../etc/passwd"), "out of"),
    (lambda d: d["frames"][2].update(file_path="/etc/passwd"), "out of"),
    (lambda d: d["frames"][2].update(file_path="images/001.png"), "twice"),
    (lambda d: d["frames"][2].update(transform_matrix=[[1, 2], [3, 4]]), "4 x 4"),
    (lambda d: d["frames"][2].update(transform_matrix=[[0] * 4] * 4), "determinant"),
    (lambda d: d["frames"][2]["transform_matrix"][0].__setitem__(0, 9.0), "rotation"),
])
def test_refused(tmp_path, change, message):
    sphere_set.write(tmp_path)
    document = json.loads((tmp_path / "transforms.json").read_text())
    change(document)
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        load_view_set(tmp_path)


def test_refused_folders(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_view_set(tmp_path / "nothing")
    with pytest.raises(InputError, match="no view set"):
        load_view_set(tmp_path)
    (tmp_path / "transforms.json").write_text("{" * 100_000)
    with pytest.raises(InputError, match="JSON"):
        load_view_set(tmp_path)


def test_cameras_that_share_no_volume(tmp_path):
    """OpenCV matrices given as OpenGL ones look away from the object: said, not fitted."""
    sphere_set.write(tmp_path)
    document = json.loads((tmp_path / "transforms.json").read_text())
    for frame in document["frames"]:
        for row in frame["transform_matrix"]:
            row[1], row[2] = -row[1], -row[2]
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="OpenGL axes"):
        load_view_set(tmp_path)


@pytest.mark.parametrize("name", ["spot_cow", "water_bottle", "stylized_barrel", "armchair"])
def test_real_sets(name):
    """Their boxes are centred at 0 with longest side 1: the hull is found there, at most 2 % larger."""
    views = load_view_set(shared("data", "views", name))
    assert len(views.train) == 48 and len(views.test) == 12
    assert views.frame.center == pytest.approx((0, 0, 0), abs=0.005)
    assert 1.0 <= views.frame.scale * FILL <= 1.02
    position = views.train.camera.position.norm(dim=-1) * views.frame.scale
    assert position.allclose(torch.full_like(position, 2.6), atol=0.01)
