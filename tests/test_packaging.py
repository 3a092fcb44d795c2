"""The sdist and the wheel: built from a copy of the checkout, used where there is no checkout."""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import asset3d

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = "asset3d/models/embedded/sample"
"""A model that is embedded for these tests alone, beside those that there are."""
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "build", "dist", "outputs", "node_modules", "__pycache__", "*.so",
                                     "*.egg-info", ".pytest_cache")


def call(*command, cwd, **environment) -> str:
    """What a command says; its failure is the test's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ASSET3D_"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**kept, **environment}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist."""
    checkout = tmp_path_factory.mktemp("copy") / "asset3d"
    shutil.copytree(ROOT, checkout, ignore=LEFT_BEHIND)
    (checkout / SAMPLE / "unet").mkdir(parents=True)
    (checkout / SAMPLE / "card.json").write_text('{"licence": "CC0-1.0"}')
    (checkout / SAMPLE / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    call(sys.executable, "-m", "build", "--no-isolation", ".", cwd=checkout, ASSET3D_CUDA="0",
         PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return checkout / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The Python of a new environment with the wheel in it; other packages are those of this environment."""
    folder = tmp_path_factory.mktemp("clean")
    call(sys.executable, "-m", "venv", "venv", cwd=folder)
    python = folder / "venv/bin/python"
    call(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", next(built.glob("*.whl")), cwd=folder)
    packages = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # a plain path: the .pth files over there, such as that of an editable asset3d, are not followed
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_sdist_holds_what_a_build_needs(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "setup.py", "csrc/module.cpp", "recipes/quickstart.yaml",
            "asset3d/report/viewer.js"} <= names
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    assert expected <= names and not [name for name in names if name.endswith(".so")]


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(archive.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode())
    assert {name.split("/")[0] for name in names} == {"asset3d", f"asset3d-{asset3d.__version__}.dist-info"}
    python_files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "asset3d").rglob("*.py")}
    models = {path.relative_to(ROOT).as_posix() for path in (ROOT / "asset3d/models/embedded").rglob("*")
              if path.is_file()}
    assert models | {f"{SAMPLE}/card.json", f"{SAMPLE}/unet/diffusion_pytorch_model.safetensors"} <= set(names)
    recipes = {f"asset3d/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    assert python_files | recipes | {"asset3d/py.typed", "asset3d/report/style.css"} <= set(names)
    libraries = [name for name in names if name.endswith(".so")]
    assert len(libraries) == 1 and libraries[0].startswith("asset3d/_C.")
    assert metadata["Version"] == asset3d.__version__ and metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_commands_work_without_the_checkout(installed, tmp_path):
    place = call(installed, "-c", "import asset3d, torch, asset3d._C as c; print(asset3d.__file__, c.__file__)",
                 cwd=tmp_path)
    assert all(Path(line).is_relative_to(installed.parents[1]) for line in place.split())
    assert "asset3d.run" in call(installed, "-m", "asset3d.run", "--help", cwd=tmp_path)
    plan = call(installed, "-m", "asset3d.run", "--dry-run", "quickstart", cwd=tmp_path)
    assert "evaluate" in plan and "export" in plan
    known = call(installed, "-m", "asset3d.models", "list", cwd=tmp_path)
    assert re.search(r"^sample .* CC0-1.0 .* embedded$", known, re.M), known
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_quickstart_runs_from_the_wheel(installed, tmp_path):
    call(installed, "-m", "asset3d.run", "quickstart", "output=out", cwd=tmp_path)
    result = tmp_path / "out/result"
    assert (result / "asset.glb").read_bytes()[:4] == b"glTF"
    assert {"report.html", "metrics.json", "manifest.json", "turntable.mp4"} <= {p.name for p in result.iterdir()}


def test_the_lock_pins_every_dependency_but_torch():
    def name(requirement: str) -> str:
        return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")

    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["test"],
              *project["build-system"]["requires"]]
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert {name(w) for w in wanted} - {name(line) for line in lines} == {"torch"}
    assert "torch" not in {name(line) for line in lines}
