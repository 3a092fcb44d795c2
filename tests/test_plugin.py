"""Plugins: the sample package is installed and used; one that is broken is named when it matters, and only then."""
import json
import subprocess
import sys
from pathlib import Path

import fake_stages
import pytest

from asset3d import Config, register

PLUGIN = fake_stages.FOLDER / "plugin"
RECIPE = """\
name: smooth
stage:
  - {type: bumpy_sphere}
  - {type: smooth_mesh, steps: 5, strength: {0: 0.5, 3: 0.25}}
  - {type: measure_mesh}
"""
STAGES = '''
"""Stages around the plugin's: a sphere with bumps, and how far its vertices are from the unit sphere."""
import sys
from typing import Literal

import torch
import asset3d


class BumpyConfig(asset3d.StageConfig):
    type: Literal["bumpy_sphere"] = "bumpy_sphere"


@asset3d.register("stage", BumpyConfig)
class Bumpy(asset3d.Stage):
    writes = ("mesh",)

    def start(self):
        return 0

    def step(self, step):
        raise NotImplementedError

    def finish(self):
        import trimesh
        ball = trimesh.creation.icosphere(3)
        vertices = torch.tensor(ball.vertices, dtype=torch.float64)
        bumps = 1 + 0.05 * torch.randn(len(vertices), 1, generator=self.context.generator(0), dtype=torch.float64)
        return {"mesh": asset3d.Mesh(vertices * bumps, torch.tensor(ball.faces))}


class MeasureConfig(asset3d.StageConfig):
    type: Literal["measure_mesh"] = "measure_mesh"


@asset3d.register("stage", MeasureConfig)
class Measure(Bumpy):
    reads = ("mesh",)
    writes = ()

    def start(self, mesh):
        self.mesh = mesh
        return 0

    def finish(self):
        self.context.emit("metric", roughness=self.mesh.vertices.norm(dim=1).std().item())
        return {}


if __name__ == "__main__":
    from asset3d.run import main
    sys.exit(main())
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which pip has put the sample plugin and one that cannot be imported."""
    folder = tmp_path_factory.mktemp("plugins")
    source = folder / "source"
    for name, content in (("good", None), ("broken", "import no_such_package\n")):
        package = source / name / "asset3d_smooth"
        package.mkdir(parents=True)
        text = content or (PLUGIN / "asset3d_smooth" / "__init__.py").read_text()
        project = (PLUGIN / "pyproject.toml").read_text()
        if content:
            package = package.rename(package.with_name("asset3d_broken"))
            project = project.replace("asset3d_smooth", "asset3d_broken").replace("asset3d-smooth", "asset3d-broken")
            project = project.replace("smooth =", "broken =")
        (package / "__init__.py").write_text(text)
        (source / name / "pyproject.toml").write_text(project)
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index",
                    "--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(source / "good"),
                    str(source / "broken")], check=True, capture_output=True)
    (folder / "around.py").write_text(STAGES)
    (folder / "r.yaml").write_text(RECIPE)
    return folder


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess:
    code = ("import sys; sys.path.insert(0, 'site'); import runpy; sys.argv[0] = 'around.py';"
            "runpy.run_path('around.py', run_name='__main__')")
    return fake_stages.python("-c", code, *arguments, cwd=installed)


def test_plugin_runs(installed):
    done = run(installed, "r.yaml", "output=o")
    assert done.returncode == 0, done.stderr
    roughness = json.loads((installed / "o" / "result" / "metrics.json").read_text())["measure_mesh"]["roughness"]
    assert roughness < 0.02, "the bumps were 0.05"
    assert "broken" not in done.stderr


def test_overrides_and_errors_reach_into_plugins(installed):
    done = run(installed, "r.yaml", "output=p", "smooth_mesh.stepz=3")
    assert done.returncode == 2
    assert done.stderr == ("argument smooth_mesh.stepz=3: stage.1.stepz: unknown key 'stepz'; did you mean 'steps'?\n")
    done = run(installed, "--dry-run", "r.yaml", "smooth_mesh.strength=2")
    assert done.returncode == 2 and "must be at most 1, got 2" in done.stderr


def test_broken_plugin_is_named_when_a_name_is_unknown(installed):
    (installed / "s.yaml").write_text(RECIPE.replace("smooth_mesh", "sharpen_mesh"))
    done = run(installed, "s.yaml", "output=q")
    assert done.returncode == 2
    assert "s.yaml:4:6: stage.1.type: unknown stage 'sharpen_mesh'" in done.stderr
    assert "plugin 'broken' failed to import: ModuleNotFoundError(\"No module named 'no_such_package'\")" in done.stderr
    assert "Traceback" not in done.stderr


def test_docs_show_the_sample():
    text = (fake_stages.FOLDER.parent / "docs" / "plugins.md").read_text()
    assert (PLUGIN / "asset3d_smooth" / "__init__.py").read_text() in text
    assert (PLUGIN / "pyproject.toml").read_text() in text


def test_names_are_taken_once():
    class AgainConfig(fake_stages.WalkConfig):
        pass

    with pytest.raises(ValueError, match="stage 'fake_walk' is already registered by fake_stages"):
        register("stage", AgainConfig)(type("Again", (), {}))
    with pytest.raises(ValueError, match="unknown kind 'stages'; did you mean 'stage'?"):
        register("stages", AgainConfig)

    class NoType(Config):
        type: str = "x"

    with pytest.raises(TypeError, match="must be annotated as Literal"):
        register("stage", NoType)
