"""Depth and normal maps beside photos: what was rendered is what is loaded, and what does not fit is refused."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

import asset3d
from asset3d.errors import InputError
from asset3d.scene import _photos, views
from asset3d.scene.camera import orbit
from asset3d.scene.image import save_png
from asset3d.scene.view_files import write_split
from asset3d.scene.views import load_view_set
from asset3d.toybox.catalog import make_object
from asset3d.toybox.render import render_maps
from scene import sphere_set

SIZE, COUNT = 32, 6


@pytest.fixture(scope="module")
def maps():
    """A toybox object seen from around."""
    camera = orbit(torch.arange(COUNT) * 60.0, torch.tensor([-20.0, 20.0, 50.0] * 2), 2.6, 30.0, SIZE)
    return camera, render_maps(make_object(1, ("chair",), 64, 1.0).mesh, camera)


def write(folder, maps, kind: str, axis: str = "y", **keys) -> None:
    """The view set with its maps as 16-bit PNGs or as .npy files; `keys` go into the document."""
    camera, rendered = maps
    write_split(folder, "train", camera, rendered["color"], rendered["alpha"])
    document = json.loads((folder / "transforms_train.json").read_text()) | keys | {"up_axis": axis}
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) if axis == "z" else np.eye(3)
    for index, frame in enumerate(document["frames"]):
        matrix = np.array(frame["transform_matrix"])
        matrix[:3] = turn @ matrix[:3]
        depth, normal = rendered["depth"][index, ..., 0].numpy(), rendered["normal"][index].numpy() @ turn.T
        frame |= {"transform_matrix": matrix.tolist(), "depth_file_path": f"depth_{index}.{kind}",
                  "normal_file_path": f"normal_{index}.{kind}"}
        if kind == "npy":
            np.save(folder / f"depth_{index}.npy", depth)
            np.save(folder / f"normal_{index}.npy", normal)
        else:
            whole = np.round(depth / keys.get("depth_unit_scale_factor", 0.001)).astype(np.uint16)
            Image.fromarray(whole).save(folder / f"depth_{index}.png")
            save_png(folder / f"normal_{index}.png", torch.from_numpy(normal).float() / 2 + 0.5)
    (folder / "transforms_train.json").write_text(json.dumps(document))


@pytest.mark.parametrize("kind, axis, keys, depth_error, normal_error", [
    ("npy", "y", {}, 1e-6, 1e-5),
    ("npy", "z", {}, 1e-6, 1e-5),
    ("png", "y", {}, 0.5e-3, 0.01),  # half a millimetre, and half a step of 2/255 in each coordinate
    ("png", "z", {"depth_unit_scale_factor": 1e-4}, 0.5e-4, 0.01),
])
def test_what_was_rendered_is_loaded(tmp_path, maps, kind, axis, keys, depth_error, normal_error):
    write(tmp_path, maps, kind, axis, **keys)
    loaded, rendered = load_view_set(tmp_path), maps[1]
    depth = loaded.train.depth * loaded.frame.scale
    assert (depth - rendered["depth"]).abs().max() <= depth_error + 1e-6
    assert ((depth > 0) == (rendered["depth"] > 0)).all()
    assert (loaded.train.normal - rendered["normal"]).norm(dim=-1).max() <= normal_error
    length = loaded.train.normal.norm(dim=-1, keepdim=True)
    assert ((length - (rendered["depth"] > 0).float()).abs() < 1e-5).all()


def test_maps_are_shrunk_with_their_images_and_never_mixed(tmp_path, maps):
    write(tmp_path, maps, "npy")
    loaded = load_view_set(tmp_path, max_size=16, fit=False).train
    rendered = maps[1]["depth"]
    assert loaded.depth.shape == (COUNT, 16, 16, 1)
    blocks = rendered.reshape(COUNT, 16, 2, 16, 2).permute(0, 1, 3, 2, 4).reshape(COUNT, 16, 16, 4)
    assert (blocks == loaded.depth).any(-1).all()


def test_maps_go_through_the_lens_of_their_image(tmp_path, maps):
    write(tmp_path, maps, "npy", k1=-0.1)
    loaded = load_view_set(tmp_path, fit=False).train
    assert loaded.depth.shape == loaded.alpha.shape != (COUNT, SIZE, SIZE, 1)
    # pixels of the outline may differ: colours are mixed there, and depths are not
    assert (loaded.depth[loaded.alpha > 0.99] > 0).float().mean() > 0.97
    assert (loaded.depth[loaded.alpha < 0.01] == 0).float().mean() > 0.97
    assert torch.isin(loaded.depth, maps[1]["depth"]).all()


def test_views_without_maps_beside_views_with(tmp_path, maps):
    write(tmp_path, maps, "npy")
    document = json.loads((tmp_path / "transforms_train.json").read_text())
    del document["frames"][2]["depth_file_path"], document["frames"][3]["normal_file_path"]
    (tmp_path / "transforms_train.json").write_text(json.dumps(document))
    loaded = load_view_set(tmp_path, fit=False).train
    assert [bool(d.any()) for d in loaded.depth] == [i != 2 for i in range(COUNT)]
    assert [bool(n.any()) for n in loaded.normal] == [i != 3 for i in range(COUNT)]


@pytest.mark.parametrize("file, content, message", [
    ("depth_1.npy", np.ones((5, 7)), r"depth_1.npy: has the shape \(5, 7, 1\), but its image needs \(32, 32, 1\)"),
    ("normal_1.npy", np.ones((32, 32)), r"normal_1.npy: has the shape \(32, 32\)"),
    ("depth_1.npy", np.full((32, 32), "x"), "depth_1.npy: holds <U1, not numbers"),
    ("depth_1.npy", np.full((32, 32), None), "depth_1.npy: is no readable .npy file"),
    ("depth_1.npy", None, "depth_1.npy: is no readable .npy file"),
])
def test_maps_that_do_not_fit_are_refused(tmp_path, maps, file, content, message):
    write(tmp_path, maps, "npy")
    (tmp_path / file).unlink()
    if content is not None:
        np.save(tmp_path / file, content)
    with pytest.raises(InputError, match=message):
        load_view_set(tmp_path, fit=False)


def test_a_coloured_depth_map_is_refused(tmp_path, maps):
    write(tmp_path, maps, "png")
    save_png(tmp_path / "depth_0.png", torch.zeros(SIZE, SIZE, 3))
    with pytest.raises(InputError, match="depth_0.png: is of colour mode RGB, not gray; .*16-bit"):
        load_view_set(tmp_path, fit=False)
    write(tmp_path, maps, "png", depth_unit_scale_factor=0.0001)
    document = json.loads((tmp_path / "transforms_train.json").read_text()) | {"depth_unit_scale_factor": 0}
    (tmp_path / "transforms_train.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"frames\[0\]: 'depth_unit_scale_factor' must be above 0"):
        load_view_set(tmp_path, fit=False)


def test_sets_that_are_too_large_are_refused_before_a_pixel_is_decoded(tmp_path, monkeypatch):
    sphere_set.write(tmp_path, count=3, size=16)
    monkeypatch.setattr(views, "MAX_VALUES", 3 * 16 * 16 * 4)
    assert len(load_view_set(tmp_path, fit=False).train) == 3
    monkeypatch.setattr(views, "MAX_VALUES", 3 * 16 * 16 * 4 - 1)
    monkeypatch.setattr(_photos, "load_image", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(InputError, match="3 views of up to 16 x 16 pixels need"):
        load_view_set(tmp_path, fit=False)


RECIPE = """
name: with_depth
stage:
  - {type: load_views, name: load, views: ???}
  - type: optimize
    representation: {type: sdf_field, hull_steps: 5, occupancy_resolution: 32, log2_hashmap_size: 12}
    renderer: {type: sdf_volume, normals: true}
    steps: 3
    rays: 64
    loss: [{type: photometric}, {type: depth}, {type: normal}]
"""


def test_maps_reach_the_losses_of_a_recipe(tmp_path, maps):
    """What docs/own_photos.md says: with maps, the recipe runs; without, it ends in one clear error."""
    (tmp_path / "r.yaml").write_text(RECIPE)
    write(tmp_path / "photos", maps, "npy")
    losses = [state.metrics for state in asset3d.Run(tmp_path / "r.yaml", tmp_path / "o", **{
        "load.views": tmp_path / "photos"}) if state.stage == "optimize" and state.metrics]
    assert len(losses) == 3 and all(0 < one["depth"] < 1 and 0 < one["normal"] < 2 for one in losses)
    sphere_set.write(tmp_path / "plain")
    with pytest.raises(InputError, match="loss 'depth' needs views with 'depth' maps, and these have none"):
        asset3d.Run(tmp_path / "r.yaml", tmp_path / "p", **{"load.views": tmp_path / "plain"}).result
