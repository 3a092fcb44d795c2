"""What the README and docs/ say is true: samples run, links lead somewhere, lists are complete."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asset3d import recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
WHOLE_RUNS = ("first_asset.md", "own_photos.md", "splats.md")
"""Pages whose samples are several runs of recipes; those of the README and the concepts say the same more briefly."""
QUICK = '''"""Makes every stage of every recipe short: samples show how to ask, not how long it takes."""
import asset3d.recipe as recipe
from asset3d.schedule import constant

SMALL = {"steps": 2, "rays": 64, "resolution": 16, "faces": 200, "texture_size": 64, "turntable_frames": 0, "size": 64,
         "supersample": 1, "hull_steps": 2, "n_levels": 4, "occupancy_resolution": 16,
         "fit": False}
check = recipe._check


def small(config):
    update = {key: min(value, getattr(config, key)) for key, value in SMALL.items()
              if isinstance(getattr(config, key, None), int)}
    if getattr(getattr(config, "renderer", None), "type", "mesh") in ("mesh", "splat"):
        update.pop("rays", None)  # is refused, once it is written down, where no ray is drawn
    if getattr(config, "train", None) is not None:
        data = config.train.data.model_copy(update={"objects": 3, "views": 5, "size": 32})
        pairs = {"sources": 5, "targets": 2} if config.train.type == "cascade" else {}
        update["train"] = config.train.model_copy(update={"data": data, **pairs})
    if config.type == "synthesize_views":
        update |= {"sampling_steps": 2, "count": 2}
    if getattr(config, "camera", None) is not None:
        update["camera"] = config.camera.model_copy(update={"size": constant(32), "count": constant(1)})
    if getattr(config, "representation", None) is not None:
        update["representation"] = small(config.representation)
    return config.model_copy(update=update)


def check_small(*given):
    loaded = check(*given)
    return loaded.model_copy(update={"stage": [small(stage) for stage in loaded.stage]})


recipe._check = check_small
'''


def anchor(title: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"https?:", target):
            continue
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if part:
            assert part in {anchor(t) for t in re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.M)}, target


def test_the_readme_lists_every_recipe():
    told = set(re.findall(r"^\| `([\w/]+)` \|", (ROOT / "README.md").read_text("utf-8"), re.M))
    assert told == set(recipe.packaged())


def test_the_reference_is_fresh():
    # A process of its own: other tests register stages of theirs in this one.
    command = [sys.executable, ROOT / "docs/make_reference.py"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == (ROOT / "docs/recipes.md").read_text("utf-8"), "run `make docs`"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A small view set, as toybox writes it."""
    folder = tmp_path_factory.mktemp("toys")
    subprocess.run([sys.executable, "-m", "asset3d.toybox", f"output={folder / 'toys'}", "seed=3", "count=1",
                    "size=64", "texture_size=256"], cwd=ROOT, check=True)
    return next(path.parent for path in sorted((folder / "toys").rglob("transforms_train.json")))


def samples(page: Path) -> list[tuple[str, str]]:
    return [(language, text) for language, text in FENCE.findall(page.read_text("utf-8"))
            if language in ("python", "sh", "yaml")]


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.long] * (page.name in WHOLE_RUNS), id=page.name)
                                  for page in PAGES if samples(page)])
def test_samples_run(page, photos, tmp_path):
    """The samples of one page, one after another in one folder that holds `photos`."""
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(photos / "input.png", tmp_path / "chair.png")
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick/sitecustomize.py").write_text(QUICK)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"),
                   "PYTHONPATH": os.pathsep.join([str(tmp_path / "quick"), str(ROOT)]),
                   "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for language, text in samples(page):
        if language == "yaml":
            if named := re.search(r"^name: (.*)$", text, re.M):  # a whole recipe, for the samples that follow
                (tmp_path / f"{named.group(1)}.yaml").write_text(text)
            continue
        command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}"
