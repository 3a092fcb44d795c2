"""Whole recipes at small settings: they reach a quality, repeat to the byte, and resume from any stage."""
import json

import pytest
import torch

import asset3d
from asset3d.scene.camera import orbit
from asset3d.scene.view_files import write_split
from asset3d.scene.views import load_view_set
from asset3d.toybox import make_object
from asset3d.toybox.render import render_maps

SMALL = {
    "sample.size": 64, "field.steps": 100, "field.rays": 1024, "field.representation.hull_steps": 60,
    "to_mesh.resolution": 48, "texture.steps": 100, "texture.faces": 2000,
    "texture.texture_size": 256, "evaluate.turntable_frames": 0, "texture.supersample": 1,
}


def result_bytes(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "result").iterdir())
            if path.name not in ("report.html", "turntable.mp4")}


def assert_same_results(first, second) -> None:
    first, second = result_bytes(first), result_bytes(second)
    assert first.keys() == second.keys() >= {"asset.glb", "metrics.json"}
    assert [name for name in first if first[name] != second[name]] == []


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


def test_the_manifest_tells_where_the_object_stood(whole):
    """input = center + scale * inside: what the view set, loaded again, says as well."""
    told = json.loads((whole / "result" / "manifest.json").read_text())["stages"]["sample"]["frame"]
    frame = load_view_set(whole / "stages" / "01-sample" / "views").frame
    assert told["center"] == list(frame.center) and told["scale"] == frame.scale
    assert 0.3 < frame.scale < 3 and max(map(abs, frame.center)) < 1


@pytest.mark.parametrize("stage, step", [("field", 23), ("texture", 20)])
def test_a_run_that_was_stopped_ends_in_the_same_bytes(whole, tmp_path, stage, step):
    with asset3d.Run("quickstart", tmp_path / "run", **SMALL) as run:
        for state in run:
            if (state.stage, state.step) == (stage, step):
                break
    asset3d.Run.resume(tmp_path / "run").result
    assert_same_results(whole, tmp_path / "run")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stage, step", [("field", 23), ("texture", 20), ("texture", 102)])
def test_on_cuda_too(tmp_path, stage, step):
    """Checkpoints are read to the CPU; their tensors must find the way back. The last stop is after the texture."""
    settings = SMALL | {"device": "cuda"}
    asset3d.Run("quickstart", tmp_path / "whole", **settings).result
    states_until(asset3d.Run("quickstart", tmp_path / "run", **settings), [(stage, step)])
    asset3d.Run.resume(tmp_path / "run").result
    assert_same_results(tmp_path / "whole", tmp_path / "run")


TINY = {
    "threads": 1, "field.rays": 128, "field.renderer.step_size": 0.02, "field.representation.occupancy_resolution": 32,
    "texture.steps": 12, "texture.faces": 500, "texture.texture_size": 128, "texture.supersample": 1,
    "evaluate.turntable_frames": 0,
}
SDF = {"field.steps": 40, "field.representation.hull_steps": 30}
RECIPES = {
    "reconstruct": SDF | {"to_mesh.resolution": 32},
    "dmtet": SDF | {"to_tet_mesh.resolution": 20, "surface.steps": 6},
    "neus": SDF | {"convert.resolution": 32},
    "nerf": {"field.steps": 80, "field.learning_rate": 0.05, "field.representation.surface_density": 6,
             "convert.resolution": 32},
    "splat": {"splats.steps": 30, "splats.representation.count": 300, "splats.representation.max_count": 400,
              "splats.representation.densify_from": 4, "splats.representation.densify_every": 4,
              "splats.representation.hull_resolution": 24, "evaluate.turntable_frames": 2},
}
"""Enough for a surface to be there, whatever it looks like; one thread, since work this small does not share well."""
STOPS = {"field": 17, "surface": 3, "texture": 5, "splats": 9, "evaluate": 5}
"""The step after which a run is stopped, by stage."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """16 views of a toy, 64 pixels wide."""
    folder = tmp_path_factory.mktemp("photos")
    camera = orbit([22.5 * view for view in range(16)], [10.0, 40.0, -15.0, 25.0] * 4, 2.6, 30.0, 64)
    maps = render_maps(make_object(0, ("barrel",), texture_size=256).mesh, camera)
    write_split(folder, "train", camera, maps["color"], maps["alpha"])
    return folder


def stages_of(recipe) -> list[str]:
    return [stage.name or stage.type for stage in asset3d.load_recipe(recipe, {"views": "."}).stage]


def states_until(run, stops) -> list[tuple[str, int]]:
    """Iterate a run to the first of the (stage, step) in `stops`; leaving the `with` stops it there."""
    states = []
    with run:
        for state in run:
            states.append((state.stage, state.step))
            if states[-1] in stops:
                break
    return states


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_stopped_in_the_middle_of_its_stages(photos, tmp_path, recipe):
    """The same bytes as an undisturbed run, and no step is done twice."""
    settings = {key: value for key, value in TINY.items() if key.split(".")[0] in ("threads", *stages_of(recipe))}
    settings |= RECIPES[recipe] | {"views": photos}
    expected = states_until(asset3d.Run(recipe, tmp_path / "whole", **settings), ())
    stops = [stop for stop in STOPS.items() if stop in expected]
    states = states_until(asset3d.Run(recipe, tmp_path / "run", **settings), stops)
    for _ in stops:
        states += states_until(asset3d.Run.resume(tmp_path / "run"), stops)
    assert states == expected and len(stops) == len({stage for stage, _ in expected} & STOPS.keys()) >= 2
    assert_same_results(tmp_path / "whole", tmp_path / "run")
