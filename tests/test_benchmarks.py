"""The benchmarks run, on sizes that measure nothing; the plan of gpu.sh, which no test machine can run."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_table_marks_what_is_missed(load, tmp_path, monkeypatch):
    harness = load("harness")
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rows = [harness.row("fast", dict(asset3d=0.001, torch=0.02), "torch", need=10),
            harness.row("slow", dict(asset3d=0.01, torch=0.02), "torch", need=10),
            harness.row("alone", dict(asset3d=0.01), "torch")]
    path = harness.write("machine", rows, "cpu")
    text = path.with_suffix(".md").read_text()
    assert "| fast | 1.00 | torch | 20.00 | 20.0x | 10x |" in text
    assert "| slow | 10.00 | torch | 20.00 | 2.0x | 10x (missed) |" in text
    assert json.loads(path.read_text())["rows"][2]["ratio"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["machine.json", "machine.md"]


def test_tiny_shapes(load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tiny_shapes.py", "--device", "cpu"])
    load("tiny_shapes").main()
    assert capsys.readouterr().out.count(": done") == 4


def gpu_script(**environment):
    return subprocess.run(["bash", str(FOLDER / "gpu.sh")], capture_output=True, text=True,
                          env=dict(os.environ, PYTHON=sys.executable, **environment))


def test_gpu_script_plan():
    result = gpu_script(DRY_RUN="1")
    assert result.returncode == 0, result.stderr
    steps = ["build", "kernels", "tests", "memcheck", "racecheck", "benchmarks"]
    assert [line.split(" (")[0] for line in result.stdout.splitlines()] == steps


def test_gpu_script_without_gpu():
    result = gpu_script(CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 1 and "sees no CUDA GPU" in result.stderr
