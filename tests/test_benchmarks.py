"""The benchmarks run, on sizes that measure nothing; the plan of gpu.sh, which no test machine can run."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import asset3d

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))

    def load_module(name):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load_module


def test_hash_grid_rows(load):
    load("harness")
    rows = load("bench_hash_grid").run("cpu", n=64, rounds=1, log2_hashmap_size=8)
    assert [r["need"] for r in rows] == [12.0, 10.0, 10.0, None]
    assert all(r["milliseconds"] > 0 and r["ratio"] > 0 for r in rows)


def test_attention_rows(load):
    load("harness")
    rows = load("bench_attention").run("cpu", rounds=1, shrink=256)
    asked = {r["work"]: r["need"] for r in rows}
    assert asked["attention 4096 x 64 x 5 heads, float32"] == 1.05
    assert asked["attention 4096 x 64 x 5 heads, bfloat16"] == 1.6
    assert sum("two sources" in work and "MiB; torch, with its concatenation" in work for work in asked) == 4
    assert all(r["ratio"] > 0 for r in rows)


def test_gaussian_rows(load):
    """The scalar splatter and the operator agree, also where the boxes are tight."""
    for name in ("harness", "gaussian_scene"):
        load(name)
    rows = load("bench_gaussian").run("cpu", n=300, resolution=40, rounds=1)
    assert [r["need"] for r in rows] == [15.0, None, 10.0, None]
    assert all(r["milliseconds"] > 0 and r["ratio"] > 0 for r in rows)


def test_table_marks_what_is_missed(load, tmp_path, monkeypatch):
    harness = load("harness")
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rows = [harness.row("fast", dict(asset3d=0.001, torch=0.02), "torch", need=10, floor=0.0005),
            harness.row("slow", dict(asset3d=0.01, torch=0.02), "torch", need=10),
            harness.row("alone", dict(asset3d=0.01), "torch")]
    path = harness.write("machine", rows, "cpu")
    text = path.with_suffix(".md").read_text()
    assert "| fast | 1.00 | torch | 20.00 | 20.0x | 10x | 50% |" in text
    assert "| slow | 10.00 | torch | 20.00 | 2.0x | 10x (missed) |  |" in text
    assert json.loads(path.read_text())["rows"][2]["ratio"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["machine.json", "machine.md"]


def test_tiny_shapes(load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tiny_shapes.py", "--device", "cpu"])
    load("tiny_shapes").main()
    assert capsys.readouterr().out.count(": done") == 6


def test_memory_of_a_command_is_its_own(load, tmp_path):
    """The peak of one that takes little does not begin at that of this process, nor of the command before."""
    measure = FOLDER / "measure.py"

    def peak(code):
        subprocess.run([sys.executable, measure, tmp_path / "cost.json", sys.executable, "-c", code], check=True)
        return json.loads((tmp_path / "cost.json").read_text())["peak_gib"]

    ballast = b"." * 2**27
    assert 0.25 <= peak("b'.' * 2**28") < 0.3
    assert peak("pass") < 0.05
    failed = subprocess.run([sys.executable, measure, tmp_path / "none.json", "false"])
    assert failed.returncode == 1 and not (tmp_path / "none.json").exists() and len(ballast) == 2**27


def test_finished_scores_are_kept(load, tmp_path, monkeypatch):
    quality, made = load("quality"), []
    monkeypatch.setattr(quality, "score", lambda scorer, glb, views: {"psnr": 30.0})
    for _ in range(2):
        assert quality.scored_once(tmp_path / "kept.json", None, None, lambda: made.append("glb")) == {"psnr": 30.0}
    assert made == ["glb"]


def test_texture_of_the_true_geometry_is_fitted_as_in_the_recipe(load, tmp_path, monkeypatch):
    """The recipe's own steps, an override, and nothing that moves or removes a vertex."""
    trimesh = pytest.importorskip("trimesh")
    from asset3d.scene import views
    from asset3d.stage import texture

    seen = []

    class Stop(Exception):
        pass

    def start(stage, mesh, views):
        seen.append(stage.config)
        raise Stop

    trimesh.creation.box().export(tmp_path / "true.glb")
    monkeypatch.setattr(views, "load_view_set", lambda folder: SimpleNamespace(frame=views.Frame((0.0, 0.0, 0.0), 1.0)))
    monkeypatch.setattr(texture.Texture, "start", start)
    with pytest.raises(Stop):
        load("quality").texture_only(tmp_path, tmp_path / "true.glb", tmp_path, ["texture_size=256"])
    recipe = asset3d.load_recipe("reconstruct", [f"views={tmp_path}"])
    own = next(stage for stage in recipe.stage if stage.name == "texture")
    assert seen == [own.model_copy(update={"vertex_learning_rate": 0.0, "normal_map": False, "faces": 2_000_000,
                                           "texture_size": 256})]


def test_a_variant_of_photos_is_whole_or_absent(load, tmp_path, monkeypatch):
    load("quality")
    real_photos = load("real_photos")

    def write(source, target):
        target.mkdir()
        (target / "000.png").write_text("half")
        if source is None:
            raise KeyboardInterrupt
        (target / "001.png").write_text("whole")

    monkeypatch.setitem(real_photos.photo_variants.KINDS, "exposure", write)
    with pytest.raises(KeyboardInterrupt):
        real_photos.variant("exposure", None, tmp_path / "views")
    assert not (tmp_path / "views").exists()
    for _ in range(2):
        views = real_photos.variant("exposure", tmp_path, tmp_path / "views")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["views", "000.png", "001.png"] and views.is_dir()


def gpu_script(**environment):
    return subprocess.run(["bash", str(FOLDER / "gpu.sh")], capture_output=True, text=True,
                          env=dict(os.environ, PYTHON=sys.executable, **environment))


def test_gpu_script_plan():
    result = gpu_script(DRY_RUN="1")
    assert result.returncode == 0, result.stderr
    steps = ["build", "kernels", "tests", "memcheck", "racecheck", "recipe", "benchmarks"]
    assert [line.split(" (")[0] for line in result.stdout.splitlines()] == steps


def test_gpu_script_without_gpu():
    result = gpu_script(CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 1 and "sees no CUDA GPU" in result.stderr


def test_a_failing_gpu_script_leaves_no_older_numbers(tmp_path):
    """A python that names a GPU and fails at every step: the results are of this run, with its failures."""
    folder = tmp_path / "benchmarks"
    (folder / "results").mkdir(parents=True)
    script = folder / "gpu.sh"
    script.write_text((FOLDER / "gpu.sh").read_text())
    (folder / "results" / "fake.json").write_text('{"rows": ["of an older run"]}')
    (folder / "results" / "fake.md").write_text("an older table")
    python = tmp_path / "python"
    python.write_text(f'''#!/bin/sh
case "$*" in
  *get_device_name*) echo 9.0 fake;;
  "- "*) exec {sys.executable} "$@";;
  *) exit 3;;
esac
''')
    python.chmod(0o755)
    result = subprocess.run(["bash", str(script)], capture_output=True, text=True,
                            env=dict(os.environ, PYTHON=str(python), PATH="/usr/bin:/bin"))
    assert result.returncode == 1
    found = json.loads((folder / "results" / "fake.json").read_text())
    assert found.keys() == {"commit", "steps"} and found["steps"]["benchmarks"]["exit"] == "3"
    assert "older" not in (folder / "results" / "fake.md").read_text()


def test_interpolated_views_compares_shapes(load, tmp_path):
    """A ball with itself, and with one of 9/10 of its size; and a whole recipe that only has to be one."""
    import torch
    import trimesh

    from asset3d.scene.mesh import Mesh

    module = load("interpolated_views")
    ball = trimesh.creation.icosphere(3, 0.4)
    make = lambda scale: Mesh(torch.tensor(ball.vertices * scale, dtype=torch.float32), torch.tensor(ball.faces.copy()))
    same, smaller = module.compare(make(1), make(1)), module.compare(make(0.9), make(1))
    assert same == {"chamfer": 0, "iou": 1}
    assert abs(smaller["chamfer"] - 0.04) < 0.004 and abs(smaller["iou"] - 0.9**3) < 0.02
    rows = {"mug": {"0": same, "16": smaller}, "tree": {"0": smaller, "16": smaller}}
    mean = [float(cell) for cell in module.table(rows, [0, 16]).splitlines()[-1].split("|")[2:6]]
    assert mean == pytest.approx([0.02, (1 + 0.9**3) / 2, 0.04, 0.9**3], abs=0.01)
    recipe = asset3d.load_recipe(module.recipe([0, 16]), {"load.views": tmp_path})
    assert [stage.name for stage in recipe.stage][-4:] == ["between_16", "field_16", "to_mesh_16", "export_16"]
