"""Whole recipes at small settings: they reach a quality, repeat to the byte, and resume from any stage."""
import json

import pytest

import asset3d

SMALL = {
    "sample.size": 64, "field.steps": 100, "field.rays": 1024, "field.representation.hull_steps": 60,
    "to_tet_mesh.resolution": 24, "surface.steps": 8, "texture.steps": 100, "texture.faces": 2000,
    "texture.texture_size": 256, "evaluate.turntable_frames": 0, "texture.supersample": 1,
}


def result_bytes(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "result").iterdir())
            if path.name not in ("report.html", "turntable.mp4")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    asset3d.Run("quickstart", folder, **SMALL).result
    return folder


def test_the_asset_looks_like_the_photos(whole):
    numbers = json.loads((whole / "result" / "metrics.json").read_text())["evaluate"]
    assert numbers["psnr"] > 28
    assert numbers["mask_iou"] > 0.95
    assert numbers["faces"] <= 2000


@pytest.mark.parametrize("stage, step", [("field", 23), ("surface", 3), ("texture", 20)])
def test_a_run_that_was_stopped_ends_in_the_same_bytes(whole, tmp_path, stage, step):
    with asset3d.Run("quickstart", tmp_path / "run", **SMALL) as run:
        for state in run:
            if (state.stage, state.step) == (stage, step):
                break
    asset3d.Run.resume(tmp_path / "run").result
    first, second = result_bytes(whole), result_bytes(tmp_path / "run")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
