"""The assets of toybench: held-out toys, one picture of each, what recipes make of it, and its numbers."""
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from intervals import bootstrap, ratio_bootstrap, settings, shown, table
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.metric.base import Surface
from asset3d.metric.chamfer import compare_surfaces, visible_surface
from asset3d.metric.iou import mask_iou
from asset3d.metric.psnr import psnr
from asset3d.metric.ssim import ssim
from asset3d.ops.triangle import interpolate, rasterize, texture
from asset3d.renderer.mesh import shrink
from asset3d.scene.camera import Camera, orbit
from asset3d.scene.color import linear_from_srgb
from asset3d.scene.image import save_png
from asset3d.scene.mesh import Mesh, load_mesh
from asset3d.scene.rigs import views
from asset3d.scene.view_files import seen_points
from asset3d.toybox import CATEGORIES, make_object
from asset3d.toybox.render import render_maps
from asset3d.toybox.samples import texture_size_for
from asset3d.toybox.write import INPUT_VIEW
from asset3d.workspace import atomic_folder, atomic_write

FIRST_SEED = 900_000
BASELINE = "inflated silhouette"
DIGITS = {"psnr": 2, "ssim": 3, "mask_iou": 3, "chamfer": 4, "f1": 3}
ABSENT = "LPIPS and CLIP similarity: absent, their weights are not part of asset3d."


@dataclass(frozen=True)
class Rules:
    """What all rows of one table have in common."""

    objects: int = 20
    size: int = 256
    """Rows and columns of the picture that is given and of the views to judge by."""
    given: int = 1
    """Pictures of each object: from azimuth 0, and from 90, 180, 270 degrees."""


# ------------------------------------------------------------------------------------------------------------- objects


def toy(number: int, rules: Rules) -> Mesh:
    """A held-out object, of a category that training has seen others of."""
    return make_object(FIRST_SEED + number, CATEGORIES, texture_size_for(rules.size)).mesh


def inputs(number: int, rules: Rules, folder: Path) -> list[Path]:
    """The given pictures with their camera files, made once: `input_0.png`, `input_0.json`, ..."""
    if not folder.is_dir():
        view = {name: INPUT_VIEW[name] for name in ("elevation", "distance", "fov")}
        camera = orbit([90.0 * k for k in range(rules.given)], *view.values(), rules.size)
        maps = render_maps(toy(number, rules), camera)
        with atomic_folder(folder) as unfinished:
            for k in range(rules.given):
                save_png(unfinished / f"input_{k}.png", maps["color"][k], maps["alpha"][k])
                document = {"fov": view["fov"], "transform_matrix": camera.camera_to_world[k].double().tolist()}
                (unfinished / f"input_{k}.json").write_text(json.dumps(document), "utf-8")
    return [folder / f"input_{k}.png" for k in range(rules.given)]


# -------------------------------------------------------------------------------------------------------------- making


Make = Callable[[list[Path], Path], tuple[Mesh, dict[str, float]]]
"""An asset of given pictures, with what it cost; it may leave files in a folder of its own."""


def shared_tool(name: str) -> Path:
    """A tool in the shared folder beside the checkout (ASSET3D_SHARED overrides where that is)."""
    root = Path(os.environ.get("ASSET3D_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "tools" / name).is_file():
        raise InputError(f"{root / 'tools' / name}: is missing; set ASSET3D_SHARED to the folder that has tools/{name}")
    return root / "tools" / name


def timed(folder: Path, command: list) -> dict[str, float]:
    """Run a command; its seconds and peak memory."""
    cost = folder / "cost.json"
    subprocess.run([sys.executable, Path(__file__).with_name("measure.py"), cost, sys.executable, *command], check=True,
                   stdout=subprocess.DEVNULL)
    return json.loads(cost.read_text())


def inflated(images: list[Path], folder: Path) -> tuple[Mesh, dict[str, float]]:
    """The baseline of a second: the silhouette inflated, colours mirrored. That tool writes display colours where glTF
    has linear ones."""
    glb = folder / "asset.glb"
    cost = timed(folder, [shared_tool("inflate_silhouette.py"), images[0], images[0].with_suffix(".json"), glb])
    mesh = load_mesh(glb)
    colors = torch.from_numpy(linear_from_srgb(mesh.colors.double().numpy())).float()
    return replace(mesh, colors=colors), cost


def by_recipe(recipe: str, overrides: list[str]) -> Make:
    """Assets of a recipe; a run that was stopped is continued."""
    def make(images: list[Path], folder: Path) -> tuple[Mesh, dict[str, float]]:
        run = folder / "run"
        image = str(images[0]) if len(images) == 1 else json.dumps([str(path) for path in images])
        if (run / "recipe.yaml").is_file():
            cost = timed(folder, ["-m", "asset3d.run", "--resume", run])
        else:
            cost = timed(folder, ["-m", "asset3d.run", recipe, f"image={image}", f"output={run}", *overrides])
        return load_mesh(run / "result" / "asset.glb"), cost

    return make


# ------------------------------------------------------------------------------------------------------------- numbers


def normalised(mesh: Mesh) -> Mesh:
    """Its box centred at 0, longest side 1."""
    low, high = mesh.bounds
    return replace(mesh, vertices=(mesh.vertices - (low + high) / 2) / (high - low).max())


def drawn(mesh: Mesh, camera: Camera) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 1"]]:
    """Unlit colours over white, and coverage, of 2 x 2 samples per pixel; by texture, or by colours of the vertices."""
    fine = camera.resized(2 * camera.height, 2 * camera.width)
    faces = mesh.faces.int()
    rast, _ = rasterize(fine.clip_positions(mesh.vertices), faces, (fine.height, fine.width))
    covered = (rast[..., 3:] > 0).float()
    if mesh.uvs is not None and mesh.material is not None and mesh.material.base_color is not None:
        uv, _ = interpolate(mesh.uvs[None], rast, faces)
        color = texture(mesh.material.base_color[None], uv, filter_mode="linear", boundary_mode="clamp")
    else:
        colors = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
        color, _ = interpolate(colors[None], rast, faces)
    image = shrink(torch.cat([color * covered + 1 - covered, covered], -1), 2)
    return image[..., :3].clamp(0, 1), image[..., 3:]


def score(asset: Mesh | None, truth: Mesh, size: int) -> dict[str, float]:
    """Pictures from the 12 views to judge by, and the surfaces that the 48 others see. What could not be made counts as
    a picture of nothing and as a single point in the centre."""
    train, test = views(size)
    wanted, outline = (torch.cat(parts) for parts in zip(*(drawn(truth, test[k]) for k in range(len(test)))))
    seen = render_maps(truth, train)
    true_surface = Surface(*seen_points(seen["coordinate"], seen["normal"], seen["alpha"]))
    if asset is None:
        color, alpha = torch.ones_like(wanted), torch.zeros_like(outline)
        surface = Surface(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
    else:
        asset = normalised(asset)
        color, alpha = (torch.cat(parts) for parts in zip(*(drawn(asset, test[k]) for k in range(len(test)))))
        surface = visible_surface(asset.vertices, asset.faces, train)
    found = {"psnr": psnr(color, wanted), "ssim": ssim(color, wanted), "mask_iou": mask_iou(alpha, outline)}
    return {name: round(float(values.mean()), 5) for name, values in found.items()} | {
        name: round(value, 5) for name, value in compare_surfaces(surface, true_surface).items()}


def measure(label: str, make: Make, how: dict, rules: Rules, output: Path, tell=lambda text: None) -> dict:
    """The numbers of every object, each kept in a file of its own, from which they come the next time.

    Raises:
        InputError: A file was made with other settings.
    """
    row = {"label": label, "how": how, "objects": []}
    for number in range(rules.objects):
        images = inputs(number, rules, output / f"inputs-{rules.size}-{rules.given}" / f"{FIRST_SEED + number}")
        folder = output / label / str(FIRST_SEED + number)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "score.json"
        about = json.loads(json.dumps({"how": how, "size": rules.size, "given": rules.given}))
        if not kept.is_file():
            numbers = _made_and_scored(make, images, folder, toy(number, rules), rules.size)
            atomic_write(kept, json.dumps({**about, "numbers": numbers}))
            tell(f"{label} {FIRST_SEED + number}: {numbers}")
        found = json.loads(kept.read_text("utf-8"))
        if {name: found[name] for name in about} != about:
            raise InputError(f"{kept}: was measured with other settings; give another label or output folder")
        row["objects"].append(found["numbers"])
    return row


def _made_and_scored(make: Make, images: list[Path], folder: Path, truth: Mesh, size: int) -> dict:
    try:
        asset, cost = make(images, folder)
    except subprocess.CalledProcessError as error:
        if error.returncode not in (1, 2):  # stopped, not failed
            raise
        return {**score(None, truth, size), "failed": True}
    return {**score(asset, truth, size), **cost}


def report(rows: list[dict]) -> str:
    """Tables of what was measured: means, and differences to the baseline over the same objects."""
    head = ["", "n", "failed", "PSNR", "SSIM", "mask IoU", "Chamfer", "F1", "seconds", "peak GiB"]
    column = lambda row, name: [numbers[name] for numbers in row["objects"] if name in numbers]
    lines = []
    for row in rows:
        cells = [shown(bootstrap(column(row, name)), digits) for name, digits in DIGITS.items()]
        costs = [f"{sum(c) / len(c):.{d}f}" if (c := column(row, name)) else "–"
                 for name, d in (("seconds", 0), ("peak_gib", 1))]
        lines.append([row["label"], str(len(row["objects"])), str(len(column(row, "failed"))), *cells, *costs])
    text = table(head, lines) + f"\n\nMeans with bootstrap intervals of 95 %. {ABSENT}\n"
    text += settings(rows)
    reference = next((row for row in rows if row["label"] == BASELINE), None)
    others = [row for row in rows if row is not reference]
    if reference is None or not others:
        return text
    compared = [against(row, reference) for row in others]
    return text + f"\nAgainst the {BASELINE}, over the same objects:\n\n" + table(
        ["", "n", "PSNR", "Chamfer, ratio"], compared) + "\n"


def against(row: dict, reference: dict) -> list[str]:
    """The cells of one row's differences to another, over the objects that both have."""
    pairs = list(zip(row["objects"], reference["objects"]))
    gain = bootstrap([a["psnr"] - b["psnr"] for a, b in pairs])
    ratio = ratio_bootstrap([a["chamfer"] for a, _ in pairs], [b["chamfer"] for _, b in pairs])
    return [row["label"], str(len(pairs)), shown(gain, sign=True), shown(ratio)]
