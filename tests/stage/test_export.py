"""The export stage puts files into the result folder, where the cameras saw the object."""
import numpy as np
import pytest
import torch
from mesh_shapes import grid_torus
from pydantic import ValidationError

from asset3d.scene.decimate import decimate
from asset3d.scene.material import Material
from asset3d.scene.unwrap import unwrap
from asset3d.scene.views import Frame, ViewSet
from asset3d.stage.base import Context
from asset3d.stage.export import Export, ExportConfig


@pytest.fixture(scope="module")
def asset():
    mesh, _ = unwrap(decimate(grid_torus(48, 24), 400), 128)
    mesh.material = Material(base_color=torch.rand(128, 128, 3, generator=torch.Generator().manual_seed(0)))
    return mesh


def run(folder, asset, views=None, **options):
    messages, told = [], []

    def emit(kind, **data):
        if kind == "message":
            messages.append(data["text"])
        elif kind != "manifest":
            told.append((kind, data["path"].name))

    context = Context("export", 0, torch.device("cpu"), folder / "stage", folder / "result", emit=emit)
    stage = Export(ExportConfig(**options), context)
    steps = stage.start(asset=asset, views=views) if views else stage.start(asset=asset)
    faces = [stage.step(step)["faces"] for step in range(steps)]
    assert stage.finish() == {}
    files = sorted(path.name for path in (folder / "result").iterdir())
    assert sorted(told) == [("file", name) for name in files] and told[0][1] == messages[0].split(":")[0]
    return faces, messages, files


def test_frame_is_undone(asset, tmp_path):
    import trimesh
    views = ViewSet(train=None, frame=Frame((10.0, -2.0, 3.0), 4.0))
    _, messages, files = run(tmp_path, asset, views)
    assert files == ["asset.glb"] and messages[0].startswith("asset.glb: 400 faces")
    loaded = trimesh.load(tmp_path / "result/asset.glb", force="mesh", process=False)
    expected = asset.vertices.numpy() * 4 + [10, -2, 3]
    assert np.allclose(loaded.bounds, [expected.min(0), expected.max(0)], atol=1e-5)
    run(tmp_path / "inside", asset, views, restore_frame=False)
    loaded = trimesh.load(tmp_path / "inside/result/asset.glb", force="mesh", process=False)
    assert np.allclose(loaded.bounds, [asset.vertices.amin(0), asset.vertices.amax(0)], atol=1e-6)


def test_the_canonical_place_is_that_of_the_box(asset, tmp_path):
    import trimesh
    run(tmp_path, asset, ViewSet(train=None, frame=Frame((10.0, -2.0, 3.0), 4.0)), canonical=True)
    loaded = trimesh.load(tmp_path / "result/asset.glb", force="mesh", process=False)
    assert np.allclose(loaded.bounds.sum(0), 0, atol=1e-6) and np.isclose(loaded.extents.max(), 1, atol=1e-6)


def test_formats_and_levels(asset, tmp_path):
    faces, _, files = run(tmp_path, asset, levels_of_detail=2, file="thing",
                          exporter=[{"type": "gltf"}, {"type": "obj", "axes": "unreal"}, {"type": "ply"}])
    assert faces[0] == 400 and faces[1] <= 200 and faces[2] <= 100
    assert files == sorted(f"thing{level}{ending}" for level in ("", "_lod1", "_lod2")
                           for ending in (".glb", ".obj", ".mtl", ".png", ".ply", "_ply.png"))


def test_same_bytes_again(asset, tmp_path):
    contents = [{p.name: p.read_bytes() for p in (tmp_path / name / "result").iterdir()} for name in "ab"
                if run(tmp_path / name, asset, levels_of_detail=1)]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("options", [{"exporter": []}, {"exporter": [{"type": "obj"}] * 2},
                                     {"exporter": [{"type": "gltf", "axes": "unity"}]},
                                     {"exporter": [{"type": "gltx"}]}, {"file": "../x"}, {"levels_of_detail": -1}])
def test_refused_options(options):
    with pytest.raises(ValidationError):
        ExportConfig(**options)
