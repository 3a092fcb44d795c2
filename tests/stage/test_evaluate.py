"""The evaluate stage on assets whose errors are known."""
import errno
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from asset3d import workspace
from asset3d.errors import DiskFull, InputError
from asset3d.exporter.base import in_world
from asset3d.metric.chamfer import visible_surface
from asset3d.scene.camera import orbit
from asset3d.scene.image import load_image
from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh
from asset3d.scene.view_files import seen_points, write_split, write_surface_points
from asset3d.scene.views import Frame, Views, ViewSet, load_view_set
from asset3d.stage.base import Context
from asset3d.stage.evaluate import Evaluate, EvaluateConfig, draw_plainly
from asset3d.toybox.catalog import make_object
from asset3d.toybox.render import render_maps

FRAME = Frame((1.0, 2.0, 3.0), 2.0)


def box(color=(0.8, 0.2, 0.1)) -> Mesh:
    """A closed box with a texture of one colour."""
    trimesh = pytest.importorskip("trimesh")
    shape = trimesh.creation.box((0.9, 0.7, 0.5))
    vertices, faces = torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces)
    texture = torch.tensor(color).expand(16, 16, 3).contiguous()
    return Mesh(vertices, faces, uvs=vertices[:, :2] + 0.5, material=Material(texture))


def photos(mesh: Mesh, azimuths) -> Views:
    camera = orbit(torch.tensor(azimuths), 20.0, 2.6, 30.0, 48)
    color, alpha = draw_plainly(mesh, camera)
    straight = (color - 1 + alpha) / alpha.clamp(min=1e-6)
    return Views(camera, straight, alpha, tuple(f"{a:.0f}.png" for a in azimuths))


def evaluate(tmp_path, asset, views, seen=None, **config) -> dict:
    """Run the whole stage; a `seen` dictionary receives the stage's state."""
    told = {}

    def emit(kind, **data):
        if kind == "metric":
            told.update(data)

    stage = Evaluate(EvaluateConfig(turntable_frames=2, turntable_size=32, **config),
                     Context("evaluate", 0, torch.device("cpu"), tmp_path, tmp_path, emit))
    for step in range(stage.start(views=views, asset=asset)):
        stage.step(step)
    stage.finish()
    if seen is not None:
        seen.update(stage.state())
    return told


def test_the_truth_itself_is_perfect(tmp_path):
    mesh = box()
    views = ViewSet(photos(mesh, [0.0, 90.0, 200.0]), photos(mesh, [45.0, 300.0]), FRAME)
    surface = visible_surface(mesh.vertices, mesh.faces, views.train.camera)
    np.savez(tmp_path / "surface.npz", points=FRAME.to_input(surface.points).numpy(), normals=surface.normals.numpy())
    told = evaluate(tmp_path, mesh, views, surface=tmp_path / "surface.npz")
    assert told["psnr"] > 99 and told["ssim"] > 0.9999 and told["mask_iou"] == 1
    assert told["chamfer"] < 1e-6 and told["f1"] == 1 and told["normal_consistency"] == pytest.approx(1, abs=1e-5)
    assert (told["faces"], told["vertices"], told["test_views"]) == (12, 8, 2)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"view_000_photo.png", "view_000_render.png", "view_001_photo.png", "view_001_render.png",
                     "turntable_000.png", "turntable_001.png"}
    center = load_image(tmp_path / "view_000_render.png").color[24, 24]
    torch.testing.assert_close(center, torch.tensor([0.8, 0.2, 0.1]), atol=0.5 / 255, rtol=0)


def test_pictures_are_whole_or_absent_and_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workspace.os, "fsync", full)
    with pytest.raises(DiskFull, match="view_000_photo.png: no space left"):
        evaluate(tmp_path, box(), ViewSet(photos(box(), [0.0, 90.0])))
    assert list(tmp_path.iterdir()) == []


def test_a_known_error_in_colour_is_measured(tmp_path):
    views = ViewSet(photos(box(), [0.0, 90.0]))
    told = evaluate(tmp_path, box((0.7, 0.2, 0.1)), views)
    # 0.1 off in one of three channels: 10 log10(3 / 0.01), but for the mixed pixels of the outline, which are better
    assert told["psnr_object"] == pytest.approx(24.77, abs=0.3)
    assert told["mask_iou"] == 1 and told["training_views"] == 2 and "chamfer" not in told


def test_pixels_outside_of_a_padded_photo_do_not_count(tmp_path):
    views = photos(box(), [0.0])
    valid = torch.ones_like(views.alpha, dtype=torch.bool)
    valid[:, 24:] = False
    damaged = torch.where(valid, views.color, torch.rand(views.color.shape, generator=torch.Generator().manual_seed(0)))
    told = evaluate(tmp_path, box(), ViewSet(replace(views, color=damaged, valid=valid)))
    assert told["psnr"] > 99 and told["mask_iou"] == 1


def test_a_restored_stage_tells_the_same_numbers(tmp_path):
    views, asset, state = ViewSet(photos(box(), [0.0, 90.0])), box((0.5, 0.2, 0.3)), {}
    told = evaluate(tmp_path, asset, views, seen=state)
    again = {}
    stage = Evaluate(EvaluateConfig(turntable_frames=2),
                     Context("evaluate", 0, torch.device("cpu"), tmp_path, tmp_path, lambda kind, **d: again.update(d)))
    stage.start(views=views, asset=asset)
    stage.load_state(state)
    stage.finish()
    assert again == told


def test_an_asset_without_texture_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no texture; put a stage of type texture before"):
        evaluate(tmp_path, replace(box(), material=None), ViewSet(photos(box(), [0.0])))


def test_an_asset_that_no_view_shows_is_refused(tmp_path):
    asset = box()
    with pytest.raises(InputError, match="covers no pixel of the 1 views"):
        evaluate(tmp_path, replace(asset, vertices=asset.vertices + 9), ViewSet(photos(asset, [0.0])))


def z_up_copy(source, target) -> None:
    """The same set as a program with +Z up writes it: asset3d's (x, y, z) is Blender's (x, -z, y)."""
    shutil.copytree(source, target)
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    for file in target.glob("transforms_*.json"):
        document = json.loads(file.read_text())
        for frame in document["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3] = turn @ matrix[:3]
            frame["transform_matrix"] = matrix.tolist()
        file.write_text(json.dumps({**document, "up_axis": "z"}))
    with np.load(target / "surface_points.npz") as data:
        points, normals = data["points"] @ turn.T, data["normals"].astype(np.float32) @ turn.T
    np.savez(target / "surface_points.npz", points=points.astype(np.float32), normals=normals)


def test_a_set_with_z_up_is_measured_like_its_y_up_original(tmp_path):
    toy = make_object(3, ("chair",), 64, 1.0)
    camera = orbit(torch.arange(8) * 45.0, torch.tensor([-20.0, 40.0] * 4), 2.6, 30.0, 32)
    maps = render_maps(toy.mesh, camera)
    write_split(tmp_path / "y", "train", camera, maps["color"], maps["alpha"])
    write_surface_points(tmp_path / "y", *seen_points(maps["coordinate"], maps["normal"], maps["alpha"]))
    z_up_copy(tmp_path / "y", tmp_path / "z")
    told, exported = [], []
    for axis in "yz":
        views = load_view_set(tmp_path / axis)
        asset = replace(toy.mesh, vertices=views.frame.unplaced(toy.mesh.vertices))
        told.append(evaluate(tmp_path, asset, views))
        exported.append(views.frame.placed(asset.vertices))
        # the files' own cameras see the files' own points where the inside cameras see the inside ones
        raw = load_view_set(tmp_path / axis, fit=False)
        there = raw.frame.to_inside(views.frame.to_input(asset.vertices))
        torch.testing.assert_close(raw.train.camera.project(there)[0], views.train.camera.project(asset.vertices)[0],
                                   atol=1e-3, rtol=0)  # pixels
    # cameras are rounded to float32 after they are turned, which may move an outline across a pixel's centre
    assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-3)
    assert told[0]["chamfer"] < 0.03 and told[0]["normal_consistency"] > 0.8  # turned by 90 degrees: above 0.1, near 0
    torch.testing.assert_close(exported[1], exported[0], atol=1e-5, rtol=0)
    # exported with Blender's axes, the asset has the coordinates of the Z-up files
    frame = load_view_set(tmp_path / "z").frame
    in_blender = in_world(Mesh(exported[1], toy.mesh.faces), "blender").vertices
    torch.testing.assert_close(in_blender, frame.to_input(frame.unplaced(exported[1])), atol=1e-5, rtol=0)
