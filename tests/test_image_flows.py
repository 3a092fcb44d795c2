"""From one image to an asset and to new views, with the embedded models, at sizes that only show that all fits."""
import json

import asset3d
import numpy as np
import pytest
import tiny_models
from asset3d.scene.image import save_png

SMALL = {"prepare.size": 96, "field.steps": 8, "field.rays": 256, "field.camera.count": 1, "field.camera.size": 32,
         "to_mesh.resolution": 32, "texture.steps": 2, "texture.faces": 500, "texture.texture_size": 64,
         "field.previews": 2, "evaluate.turntable_frames": 0}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photo")
    view = tiny_models.given_view(160)
    save_png(folder / "disk.png", view.color[0], view.alpha[0])
    return folder / "disk.png"


def settings(photo):
    return {**SMALL, "image": str(photo), "elevation": 10}


def test_an_image_becomes_an_asset_in_the_canonical_place(photo, tmp_path):
    import trimesh

    result = asset3d.Run("zero123", tmp_path / "run", **settings(photo)).result
    loaded = trimesh.load(result.folder / "asset.glb", force="mesh", process=False)
    assert np.allclose(loaded.bounds.sum(0), 0, atol=1e-5) and np.isclose(loaded.extents.max(), 1, atol=1e-5)
    assert [path.name for path in sorted((tmp_path / "run/stages/02-field").glob("*.png"))] == [
        "step_000004.png", "step_000008.png"]
    manifest = json.loads((result.folder / "manifest.json").read_text())
    models = [entry for entry in manifest["inputs"].values() if entry.get("name") == "toy-zero123"]
    assert len(models) == 1 and models[0]["licence"] == "CC0-1.0" and len(models[0]["sha256"]) == 64


def test_distillation_that_was_stopped_ends_in_the_same_bytes(photo, tmp_path):
    whole = asset3d.Run("zero123", tmp_path / "whole", **settings(photo)).result
    run = asset3d.Run("zero123", tmp_path / "run", checkpoint_every=1, **settings(photo))
    for state in run:
        if state.stage == "field" and state.step == 5:
            break
    run.close()
    again = asset3d.Run.resume(tmp_path / "run").result
    assert (again.folder / "asset.glb").read_bytes() == (whole.folder / "asset.glb").read_bytes()


def test_an_image_becomes_views_that_load(photo, tmp_path):
    from asset3d.scene.views import load_view_set

    result = asset3d.Run("novel_views", tmp_path / "run", image=str(photo), elevation=10, count=3,
                         **{"new.sampling_steps": 3, "prepare.size": 64}).result
    assert len(load_view_set(result.folder / "views", fit=False).train) == 4


def test_a_dry_run_tells_the_memory_of_the_prior(photo, capsys):
    from asset3d.run import main

    assert main(["--dry-run", "zero123", f"image={photo}"]) == 0
    said = capsys.readouterr().out
    assert any("toy-zero123" in line and "GB" in line for line in said.splitlines()), said
