"""Folders of the toybox: their layout, the same bytes twice, and an asset that scores perfectly on its own views."""
import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from real_data import shared

from asset3d.scene import rigs
from asset3d.scene.camera import orbit
from asset3d.scene.view_files import transforms_document
from asset3d.scene.views import load_view_set
from asset3d.toybox import write as toybox_write
from asset3d.toybox.__main__ import main
from asset3d.toybox.catalog import VERSION


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    output = tmp_path_factory.mktemp("toys") / "out"
    assert main([f"output={output}", "seed=7", "count=2", "size=96", "texture_size=512", "category=mug,rocket"]) == 0
    return output


def _files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_layout_is_that_of_the_shared_view_sets(written):
    assert sorted(p.name for p in written.iterdir()) == ["000007_rocket", "000008_mug"]
    own = {"asset.glb", "caption.txt", "object.json", "input.png", "input.json"}
    sample = shared("data/views/spot_cow")
    for folder in written.iterdir():
        assert _files(folder) - own == _files(sample) and own <= _files(folder)
        for split in ("train", "test"):
            ours, theirs = (json.loads((f / f"transforms_{split}.json").read_text()) for f in (folder, sample))
            assert list(ours) == list(theirs) and ours["frames"][0].keys() == theirs["frames"][0].keys()
        ours, theirs = (np.load(f / "surface_points.npz") for f in (folder, sample))
        for name in ("points", "normals"):
            assert ours[name].dtype == theirs[name].dtype and ours[name].ndim == 2 and len(ours[name]) > 2000


def test_input_view_and_record(written):
    folder = written / "000008_mug"
    document = json.loads((folder / "input.json").read_text())
    camera = orbit(0.0, 10.0, 2.6, 30.0, 96)
    assert {k: document[k] for k in ("azimuth", "elevation", "fov", "distance")} == dict(
        azimuth=0, elevation=10, fov=30, distance=2.6)
    torch.testing.assert_close(torch.tensor(document["transform_matrix"]), camera.camera_to_world[0])
    record = json.loads((folder / "object.json").read_text())
    assert record == {"generator": "asset3d.toybox", "version": VERSION, "category": "mug", "seed": 8, "size": 96,
                      "texture_size": 512, "shading": 1.0}
    assert "mug" in (folder / "caption.txt").read_text()


def test_loads_as_view_set(written):
    loaded = load_view_set(written / "000007_rocket", fit=False)
    train, test = rigs.views(96)
    torch.testing.assert_close(loaded.train.camera.camera_to_world, train.camera_to_world, atol=1e-6, rtol=0)
    assert len(loaded.test) == 12 and loaded.train.color.shape == (48, 96, 96, 3)
    assert torch.equal(loaded.test.camera.intrinsics, test.intrinsics)


def test_same_seed_same_bytes(written, tmp_path):
    assert main([f"output={tmp_path / 'again'}", "seed=8", "size=96", "texture_size=512", "category=mug,rocket"]) == 0
    first, second = written / "000008_mug", tmp_path / "again" / "000008_mug"
    assert _files(first) == _files(second)
    for name in _files(first):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_held_out_objects_come_with_their_split(quick):
    command, output, _ = quick
    assert main([command[0], "split=held", "count=2", "texture_size=256", "category=teapot,plane"]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["900000_teapot", "900001_plane"]


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A command for three objects whose folders hold little; the list of what is written can be made to fail."""
    stop = {}

    def write(mesh, folder, size):
        (folder / "input.png").write_text("half")
        if stop.get("at") == len(list(folder.parent.glob("0*"))):
            raise stop["error"]

    monkeypatch.setattr(toybox_write, "write_input", write)
    monkeypatch.setattr(toybox_write, "write_view_set", lambda mesh, folder, size: None)
    command = [f"output={tmp_path / 'out'}", "seed=3", "count=3", "texture_size=256", "category=mug,vase"]
    return command, tmp_path / "out", stop


@pytest.mark.parametrize("error, status, words", [
    (KeyboardInterrupt(), 130, "interrupted; finished objects are complete, and the same command goes on"),
    (OSError(errno.ENOSPC, "No space left on device"), 1, "no space left on the disk: free some space; the same"),
    (OSError(errno.EIO, "Input/output error"), 1, "toybox: [Errno 5] Input/output error; finished objects")])
def test_the_same_command_goes_on_where_it_was_stopped(quick, capsys, error, status, words):
    command, output, stop = quick
    stop |= {"at": 2, "error": error}
    assert main(command) == status
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in output.iterdir()) == ["000003_vase", "000004_mug"], "no half of an object"
    stop.clear()
    kept = (output / "000003_vase/asset.glb").stat().st_mtime_ns
    assert main(command) == 0
    assert sorted(path.name for path in output.iterdir()) == ["000003_vase", "000004_mug", "000005_vase"]
    assert (output / "000003_vase/asset.glb").stat().st_mtime_ns == kept


def test_what_a_killed_command_left_is_no_obstacle_but_other_things_are(quick, capsys):
    command, output, _ = quick
    half = output / ".asset3d-tmp-000003_vase"
    half.mkdir(parents=True)
    (half / "input.png").write_text("half")
    assert main(command) == 0 and not half.exists()
    assert main([*command[:3], "texture_size=512", command[4]]) == 2, "another size would mix two orders"
    (output / "000009_mug").mkdir()
    assert main(command) == 2
    assert capsys.readouterr().err.count("holds other things than this command makes; name another folder") == 2


def test_asset_scores_perfectly_on_its_own_views(written):
    folder = written / "000007_rocket"
    done = subprocess.run([sys.executable, str(shared("tools/score_glb.py")), str(folder / "asset.glb"), str(folder)],
                          capture_output=True, text=True, check=True)
    score = json.loads(done.stdout.splitlines()[-1])
    assert score["psnr"] > 45 and score["mask_iou"] > 0.99 and score["chamfer"] < 0.006   # 96 rows are coarse
    assert score["normal_consistency"] > 0.97


def test_lenses_that_differ_are_written_per_frame():
    camera = orbit([0.0, 90.0], 0.0, 2.0, [30.0, 40.0], 64)
    document = transforms_document(camera, ["a.png", "b.png"])
    assert "fl_x" not in document and document["frames"][0]["fl_x"] > document["frames"][1]["fl_x"]


@pytest.mark.parametrize("arguments, words", [
    ([], "python -m asset3d.toybox"), (["seed=1"], "output: must be given"), (["output="], "output: must name"),
    (["output={new}", "sed=1"], "did you mean seed="), (["output={new}", "seed=-1"], "seed: must be"),
    (["output={new}", "seed=1.5"], "seed: must be"), (["output={new}", "count=0"], "count: must be"),
    (["output={new}", "count=many"], "count: must be"), (["output={new}", "category=mugg"], "category: mugg"),
    (["output={new}", "category="], "category"), (["output={new}", "size=8"], "size: must be"),
    (["output={new}", "shading=2"], "shading: must be"), (["output={new}", "shading=nan"], "shading: must be"),
    (["output={new}", "texture_size=64"], "texture_size: must be"), (["output={new}", "views"], "'views' is not known"),
    (["output={new}", "seed=1", "seed=2"], "given twice"), (["output={full}"], "is not empty"),
    (["output={new}", "split=test"], "split: must be"),
    (["output={new}", "category=mug,teapot"], "category: teapot is held out"),
    (["output={new}", "seed=899999", "count=2"], "seed 900000 is not of split=train"),
    (["output={new}", "seed=7", "split=held"], "seed 7 is not of split=held"),
    (["output={file}"], "is a file"), (["output={file}/below"], "cannot be created"),
])
def test_bad_arguments_are_one_clear_error(arguments, words, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    places = {name: tmp_path / name for name in ("new", "full", "file")}
    assert main([a.format(**places) for a in arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.out + shown.err and "Traceback" not in shown.err
    assert not places["new"].exists() and sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]
