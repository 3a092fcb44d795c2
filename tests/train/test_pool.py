"""Pools of views: toys or files of your own, what cannot be read is left out and named, and a full disk is said."""
import errno
import json
import os

import pytest
import torch
import trainings

import asset3d
from asset3d.errors import DiskFull, InputError
from asset3d.prior.zero123 import Zero123
from asset3d.scene.mesh import Mesh, save_mesh
from asset3d.train._meshes import Meshes, caption_of, in_unit_cube
from asset3d.train._pool import MeshesConfig, PoolConfig, ViewPool
from asset3d.train.autoencoder import AutoencoderConfig

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def box(path, color, size=(1.0, 2.0, 4.0), at=(10.0, 0.0, 0.0)) -> None:
    x, y, z = torch.meshgrid(*[torch.tensor([-0.5, 0.5])] * 3, indexing="ij")
    vertices = torch.stack([x, y, z], -1).reshape(-1, 3) * torch.tensor(size) + torch.tensor(at)
    faces = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                          [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mesh(Mesh(vertices, faces, colors=torch.tensor(color).repeat(8, 1) * torch.linspace(0.99, 1, 8)[:, None]), path)


@pytest.fixture
def folder(tmp_path):
    """Nine boxes, and two files that are none."""
    for k in range(9):
        box(tmp_path / "files" / ("below" if k % 2 else ".") / f"red_box-{k}.glb", RED if k else BLUE)
    (tmp_path / "files" / "broken.glb").write_bytes(b"glTF nothing")
    (tmp_path / "files" / "empty.obj").write_text("v 0 0 0\n")
    (tmp_path / "files" / "notes.txt").write_text("no mesh")
    return tmp_path / "files"


def pool_of(folder, tmp_path, split="train", told=None, **more) -> ViewPool:
    config = MeshesConfig(type="meshes", folder=folder, views=3, size=32, cache=str(tmp_path / "cache"), **more)
    return ViewPool(config, split).prepare((told if told is not None else []).append, lambda: None)


def test_files_become_views(folder, tmp_path):
    pool = pool_of(folder, tmp_path)
    objects = torch.arange(len(pool)).repeat_interleave(3)
    views = torch.arange(3).repeat(len(pool))
    images, depth, poses = (f(objects, views) for f in (pool.images, pool.depth, pool.poses))
    shown = (images - 1).abs().amax(-1) > 0.1
    assert 0.02 < shown.float().mean() < 0.5  # the longest side is 1, seen from 1.5 to 2.2
    red = [k for k, caption in enumerate(pool.captions) if caption == "red box"]
    inside = (depth[..., 0] > 0) & shown
    assert red and abs((depth[..., 0] > 0).float().mean() - shown.float().mean()) < 0.05
    assert {tuple((c * 10).round().int().tolist()) for c in images[inside]} >= {(10, 0, 0)}
    distance = poses[:, 2]
    assert distance.min() >= 1.5 and distance.max() <= 2.2
    near = torch.stack([depth[k][depth[k] > 0].min() for k in range(len(depth))])
    assert (near < distance).all() and (near > distance - 0.9).all()  # half the diagonal of the unit cube


def test_files_that_are_none_are_left_out_and_named(folder, tmp_path):
    told = []
    train, held = (pool_of(folder, tmp_path, split, told, held_out=0.3) for split in ("train", "held"))
    assert len(train) + len(held) == 9
    for name in ("broken.glb", "empty.obj"):
        assert sum("left out" in line and name in line for line in told) == 1
    again = []
    assert pool_of(folder, tmp_path, told=again, held_out=0.3).captions == train.captions and not again


def test_held_out_files_are_the_same_ones_and_never_trained_on(folder):
    train, held = (Meshes(folder, split, 0.3).names for split in ("train", "held"))
    assert len(held) == 3 and not set(train) & set(held) and len(train) + len(held) == 11
    assert Meshes(folder, "held", 0.3).names == held
    assert len(Meshes(folder, "train", 0.5, most=4)) == 2
    assert len(Meshes(folder, "held", 0.01)) == 1 and len(Meshes(folder, "train", 0.99)) == 1


def test_a_folder_without_meshes_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds 0 mesh files"):
        Meshes(tmp_path, "train", 0.1)
    for name in ("a.glb", "b.glb"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match="none of its 1 objects can be read"):
        pool_of(tmp_path, tmp_path)


def test_what_a_mesh_looks_like(tmp_path):
    """A texture is shown through its coordinates; what has no colours is lit from the camera."""
    from asset3d.scene.material import Material
    from asset3d.train._meshes import render

    corners = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    image = torch.tensor([[RED, BLUE]]).expand(2, 2, 3).contiguous()
    uvs = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    camera = asset3d.orbit(0.0, 0.0, 1.85, 49.1, 32)
    color, depth = render(Mesh(corners, faces, uvs=uvs, material=Material(image)), camera)
    torch.testing.assert_close(color[0, 16, 11, :3], torch.tensor(RED), atol=0.03, rtol=0)
    torch.testing.assert_close(color[0, 16, 20, :3], torch.tensor(BLUE), atol=0.03, rtol=0)
    assert depth[0, 16, 16, 0] == pytest.approx(1.85, abs=1e-4) and color[0, 0, 0, 3] == 0
    lit, _ = render(Mesh(corners, faces), asset3d.orbit([0.0, 60.0], 0.0, 1.85, 49.1, 32))
    torch.testing.assert_close(lit[0, 16, 16], torch.tensor([0.9, 0.9, 0.9, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(lit[1, 16, 16], torch.tensor([0.6, 0.6, 0.6, 1.0]), atol=1e-5, rtol=0)  # cosine 1/2
    painted = torch.tensor([RED, RED, BLUE, BLUE])
    unlit, _ = render(Mesh(corners, faces, colors=painted), camera)
    torch.testing.assert_close(unlit[0, 23, 16, :3], torch.tensor([0.87, 0.0, 0.13]), atol=0.03, rtol=0)


def test_objects_fill_the_unit_cube():
    corners = torch.tensor([[3.0, 1.0, 1.0], [5.0, 1.0, 1.0], [3.0, 2.0, 1.5], [100.0, 0.0, 0.0]])
    low, high = in_unit_cube(Mesh(corners, torch.tensor([[0, 1, 2]])), "some").vertices[:3].aminmax(dim=0)
    torch.testing.assert_close(high - low, torch.tensor([1.0, 0.5, 0.25]))
    torch.testing.assert_close(high + low, torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name, caption", [("a/Old_Wooden-Stool2.GLB", "old wooden stool"), ("123.glb", "object")])
def test_captions_of_names(name, caption):
    assert caption_of(name) == caption


def test_a_model_learns_from_files(folder, tmp_path):
    """Autoencoder, then Zero-1-to-3, from a folder of meshes alone."""
    data = {"type": "meshes", "folder": str(folder), "views": 3, "size": 32, "cache": str(tmp_path / "cache")}
    options = trainings.autoencoder_options(tmp_path) | {"train.train.data": data, "steps": 4}
    asset3d.Run("train/autoencoder", tmp_path / "autoencoder", **options).result
    model = tmp_path / "autoencoder" / "result" / "model"
    options = trainings.zero123(tmp_path, model) | {"train.train.data": data, "steps": 2}
    with asset3d.Run("train/zero123", tmp_path / "run", **options) as run:
        run.result
    made = tmp_path / "run" / "result" / "model"
    card = json.loads((made / "card.json").read_text())
    assert Zero123.load(made).image_size == 32 and card["trained on"] == "files/" and "CC0" not in card["licence"]


def test_pools_of_a_recipe_are_told_apart(folder):
    """A wrong key is compared with those of the pool that is meant; a path on the command line begins here."""
    from asset3d.recipe import load

    given = {"initial": str(folder), "train.train.data": {"type": "meshes", "folder": str(folder)}}
    config = load("train/multiview", given, check_files=False).stage[0].train.data
    assert isinstance(config, MeshesConfig) and config.folder == folder
    again = load("train/multiview", {**given, "train.train.data.held_out": 0.5}, check_files=False)
    assert again.stage[0].train.data.held_out == 0.5
    assert isinstance(load("train/multiview", {"initial": "x"}, check_files=False).stage[0].train.data, PoolConfig)
    with pytest.raises(InputError, match="unknown key 'foldr'; did you mean 'folder'"):
        load("train/multiview", {**given, "train.train.data": {"type": "meshes", "foldr": "x"}}, check_files=False)
    assert AutoencoderConfig(data={"objects": 3}).data.objects == 3


# -- a full disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_before_anything_is_drawn(cache, tmp_path, monkeypatch):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    pool = ViewPool(PoolConfig(objects=3, views=2, size=16, cache=str(tmp_path)))
    with pytest.raises(DiskFull, match="color.npy: no space left on the disk"):
        pool.prepare(lambda text: None, lambda: None)
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.undo()
    assert len(pool.prepare(lambda text: None, lambda: None)) == 3


def test_files_of_a_pool_have_no_holes(tmp_path):
    ViewPool(PoolConfig(objects=2, views=2, size=64, cache=str(tmp_path))).prepare(lambda text: None, lambda: None)
    for path in tmp_path.rglob("*.npy"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size
