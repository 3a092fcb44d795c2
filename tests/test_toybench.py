"""ToyBench at sizes that measure nothing; its numbers where they are known."""
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import tiny_models
import torch
from real_data import shared

from asset3d import recipe
from asset3d.scene.camera import orbit
from asset3d.toybox import HELD_OUT, make_object

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """The modules of the benchmark, by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("intervals", "toybench_plot", "toybench_views", "toybench_assets", "toybench", "cascade_rows")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


# -------------------------------------------------------------------------------------------------------- intervals


def test_intervals_cover_the_true_mean_as_often_as_they_say(bench):
    numbers = np.random.default_rng(1).normal(3.0, 2.0, (200, 50))
    intervals = [bench["intervals"].bootstrap(row) for row in numbers]
    assert [mean for mean, _, _ in intervals] == pytest.approx(numbers.mean(1).tolist())
    covered = sum(low <= 3.0 <= high for _, low, high in intervals)
    assert 180 <= covered <= 199  # 95 % of 200; a binomial deviate is 3, and percentiles of 50 are a little narrow
    assert bench["intervals"].bootstrap(numbers[0]) == bench["intervals"].bootstrap(numbers[0])


def test_intervals_of_few_numbers(bench):
    intervals = bench["intervals"]
    assert intervals.bootstrap([2.0]) == (2.0, 2.0, 2.0)
    assert intervals.shown(intervals.bootstrap([])) == "–"
    assert intervals.shown((1.234, -0.5, 2), sign=True) == "+1.23 [-0.50, +2.00]"
    assert intervals.ratio_bootstrap([1.0, 2.0], [2.0, 4.0]) == (0.5, 0.5, 0.5)


# -------------------------------------------------------------------------------------------------------------- views


def test_views_of_held_out_toys(bench):
    novel = bench["toybench_views"]
    rules = novel.Rules(pairs=3, size=16)
    pairs = novel.make_pairs(rules, 1, 3)
    assert pairs.seeds == [HELD_OUT + 1, HELD_OUT + 2] and pairs.given.shape == (2, 4, 16, 16, 3)
    assert 0 <= min(pairs.azimuth_distance) and max(pairs.azimuth_distance) <= 180
    again = novel.make_pairs(rules, 2, 3)
    torch.testing.assert_close(again.wanted[0], pairs.wanted[1], atol=0, rtol=0)
    draw = lambda pairs: [torch.rand(1, generator=g).item() for g in pairs.generators("x", rules)]
    assert draw(pairs)[1] == draw(again)[0] != draw(pairs)[0]  # noise belongs to the pair, not to the batch
    near = replace(pairs, wanted_poses=pairs.given_poses[:, 0] + torch.tensor([350.0, 0, 0]))
    assert near.azimuth_distance == pytest.approx([10, 10], abs=1e-3)


def test_rows_of_views_are_continued_and_not_mixed(bench, tmp_path):
    novel = bench["toybench_views"]
    rules, batches = novel.Rules(pairs=5, size=16), []

    def perfect(pairs, n_given):
        batches.append(len(pairs.seeds))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return pairs.wanted + 0.1

    with pytest.raises(KeyboardInterrupt):
        novel.measure("row", perfect, {}, rules, tmp_path, batch=2)
    numbers = novel.measure("row", perfect, {}, rules, tmp_path, batch=2)["given"]["1"]
    assert batches == [2, 2, 2, 1] and numbers["psnr"] == pytest.approx([20.0] * 5, abs=1e-3)
    with pytest.raises(Exception, match="other settings"):
        novel.measure("row", perfect, {"steps": 3}, rules, tmp_path)


@pytest.fixture
def folder(tmp_path):
    tiny_models.zero123().save(tmp_path / "tiny")
    return tmp_path


def test_the_command_for_views(bench, folder, capsys, monkeypatch):
    monkeypatch.setattr(bench["toybench_views"], "MEAN_OF", 2)
    main = bench["toybench"].main
    model, output = str(folder / "tiny"), ["--output", str(folder / "out")]
    some = ["--pairs", "4", "--size", "32", "--steps", "2", *output]
    assert main(["views", "--model", model, "--given", "1", "3", "--ceiling", "--against", "mean image", *some]) == 0
    text = capsys.readouterr().out
    for row in ("| given view copied | 4 |", "| mean image | 4 |", "| tiny, 1 given | 4 |", "| tiny, 3 given | 4 |",
                "| tiny: the wanted view through its autoencoder | 4 |"):
        assert text.count(row) == 1
    assert main(["views", "--model", model, "--base", model, "--nearby", "random", "--coarse-target", "off", *some]) == 0
    assert main(["views", "--model", model, "--base", model, "--label", "full", *some]) == 0
    kept = {path.stem: json.loads(path.read_text()) for path in (folder / "out/views").glob("*.json")}
    drawn = [kept[name]["given"]["1"]["psnr"] for name in ("tiny", "tiny+tiny", "full")]
    assert all(len(numbers) == 4 for numbers in drawn)
    assert drawn[0] != drawn[1] != drawn[2]  # what the base draws is looked at
    assert main(["views", "--model", model, "--base", model, "--given", "2", *some]) == 2
    assert "a cascade is given one view" in capsys.readouterr().err
    monkeypatch.setattr(bench["toybench"], "RESULTS", folder)
    assert main(["tables", "--write", *output]) == 0
    text = capsys.readouterr().out
    assert "## Novel views" in text and "## Assets" not in text
    assert "(toybench_azimuth.svg)" in (folder / "toybench.md").read_text()


def test_the_plot_by_azimuth(bench):
    plot = importlib.import_module("toybench_plot")
    numbers = {"psnr": [10.0, 12.0, 20.0, 22.0, 30.0], "azimuth_distance": [1.0, 29.0, 170.0, 180.0, 60.0]}
    points = plot.curve(numbers)
    assert [point[:2] for point in points] == [(15, 11), (165, 21)]  # a single pair is no mean
    root = ElementTree.fromstring(plot.plot({"a < b": points}))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in texts and "180" in texts


def test_a_model_of_larger_images_is_given_larger_images(bench):
    novel = bench["toybench_views"]
    rules, seen = novel.Rules(pairs=2, size=16), []

    def draw(pairs, n_given):
        seen.append((pairs.given.shape[2], pairs.wanted.shape[1], pairs.seeds))
        return pairs.wanted

    draw.image_size = 32
    pairs = novel.make_pairs(rules, 1, 2)
    draw(novel.seen_by(draw, rules, pairs), 1)
    assert seen == [(32, 16, pairs.seeds)]


# ------------------------------------------------------------------------------------------------------------- assets


def test_the_true_object_is_perfect_wherever_it_is(bench):
    assets = bench["toybench_assets"]
    truth = assets.toy(0, assets.Rules(size=48))
    moved = replace(truth, vertices=3 * truth.vertices + torch.tensor([1.0, 2.0, 3.0]))
    numbers = assets.score(moved, truth, 48)
    assert numbers["psnr"] > 45 and numbers["mask_iou"] > 0.995 and numbers["ssim"] > 0.999
    assert numbers["chamfer"] < 0.006 and numbers["f1"] > 0.8  # pixels are 0.03 apart
    nothing = assets.score(None, truth, 48)
    assert nothing["mask_iou"] == 0 and nothing["f1"] < 0.001 and 0.1 < nothing["chamfer"] < 0.5
    assert numbers["psnr"] > nothing["psnr"] > 3


def test_pictures_of_toys_with_their_cameras(bench, tmp_path):
    assets = bench["toybench_assets"]
    paths = assets.inputs(3, assets.Rules(size=32, given=2), tmp_path / "toy")
    cameras = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    expected = orbit([0.0, 90.0], 10.0, 2.6, 30.0, 32).camera_to_world
    torch.testing.assert_close(torch.tensor([camera["transform_matrix"] for camera in cameras]), expected)
    assert assets.toy(3, assets.Rules()).vertices.equal(make_object(HELD_OUT + 3, texture_size=256).mesh.vertices)


RECIPE = """
name: tiny
arguments: {image: prepare.image}
stage:
  - {type: prepare_image, name: prepare, image: ???, size: 32}
  - type: optimize
    name: field
    representation: {type: sdf_field, n_levels: 4, occupancy_resolution: 16, hull_steps: 2}
    renderer: {type: sdf_volume}
    steps: 2
    rays: 64
    loss: [{type: photometric}]
  - {type: convert, name: to_mesh, to: mesh, resolution: 16}
  - {type: texture, steps: 2, faces: 200, texture_size: 64}
  - {type: export, exporter: [{type: gltf}]}
"""


def test_the_command_for_assets(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASSET3D_SHARED", str(shared("tools").parent))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    command = ["assets", "--recipe", str(tmp_path / "tiny.yaml"), "--objects", "1", "--size", "48", "--output",
               str(tmp_path / "out"), "field.steps=1"]
    assert bench["toybench"].main(command) == 0
    text = capsys.readouterr().out
    assert "| inflated silhouette | 1 | 0 |" in text and "| tiny | 1 | 0 |" in text and text.count("| tiny | 1 | ") == 2
    assert "LPIPS and CLIP similarity: absent" in text
    assert "- tiny: recipe tiny.yaml, overrides ['field.steps=1']" in text
    made = tmp_path / "out/assets/tiny"
    assert len(list(made.glob("*/run/result/asset.glb"))) == 1
    assert "steps: 1" in next(made.glob("*/run/recipe.yaml")).read_text()
    monkeypatch.setattr(bench["toybench_assets"], "timed", None)  # what is finished is not made again
    assert bench["toybench"].main(command) == 0 and capsys.readouterr().out == text
    assert bench["toybench"].main([*command[:-1], "field.steps=2"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_small_settings_are_settings_of_the_recipes(bench):
    known = {name: overrides for name, overrides in bench["toybench"].SMALL.items() if name in recipe.packaged()}
    for name, overrides in known.items():
        recipe.load(name, ["image=a.png", *overrides], check_files=False)


def test_what_fails_counts_as_nothing(bench, tmp_path, monkeypatch):
    assets = bench["toybench_assets"]
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    rules = assets.Rules(objects=1, size=32)
    row = assets.measure("broken", assets.by_recipe("no_such_recipe", []), {}, rules, tmp_path)
    assert row["objects"][0]["failed"] and row["objects"][0]["mask_iou"] == 0
    assert "| broken | 1 | 1 |" in assets.report([row])


@pytest.mark.parametrize("name", ["random views", "larger rotations", "more views", "without coarse target",
                                  "without EMA"])
def test_the_rows_of_the_cascade_are_settings_of_its_trainer(bench, name, tmp_path):
    tiny_models.zero123().save(tmp_path / "base")
    row = bench["cascade_rows"].ROWS[name]
    loaded = recipe.load(row.recipe, {"initial": str(tmp_path / "base"),
                               **{f"train.train.{key}": value for key, value in row.settings.items()}})
    train = loaded.stage[0].train
    assert train.base == ("frozen" if row.frozen else "ema") and train.coarse_target is row.coarse_target
    assert train.self_prompts == (row.nearby if row.nearby == "random" else tuple(map(tuple, row.nearby)))


def test_the_table_of_the_cascade_compares_over_the_same_pairs(bench):
    rows = {name: {"psnr": [15.0 + shift, 17.0 + shift], "ssim": [0.5, 0.6], "azimuth_distance": [10.0, 170.0]}
            for name, shift in (("base", 0.0), ("nearby", 1.25))}
    text = bench["cascade_rows"].report(rows, SimpleNamespace(steps=10, pairs=2))
    assert "+1.25 [+1.25, +1.25]" in text and "| 20.04 |" in text and "18.68" in text
