"""Do views that splats show from between the photos help the shape? The question of Hi3D's Table 4, on toys.

    python benchmarks/interpolated_views.py [--output DIR] [--objects 0 1 2 3 4 5 6 7] [--added 0 16 32] [key=value ...]

For each object of the toybox: 12 of the 48 views of the scoring rig; Gaussian splats are fitted to them; M views
between them are rendered and added; a signed distance field is fitted to all; its surface goes to a GLB, which is
compared with the object. Chamfer distance is over what 24 cameras all around see, IoU is of the volumes that these
cameras cannot see into. Prints the table and writes it as JSON. What is finished is not repeated: other settings
(`splats.steps=500`) need another output folder.
"""
import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import asset3d
from asset3d.metric.chamfer import compare_surfaces, visible_surface
from asset3d.ops.triangle import interpolate, rasterize
from asset3d.scene.camera import Camera, orbit
from asset3d.scene.mesh import Mesh, load_mesh
from asset3d.scene.rigs import fibonacci, views
from asset3d.scene.view_files import write_split
from asset3d.toybox import CATEGORIES, make_object
from asset3d.toybox.render import render_maps

EVERY = 4
"""One of so many views of the rig is kept: 12 of 48."""
SIZE = 96
"""Rows of the pictures."""
GRID = 64
"""Points per axis of the grid for IoU."""
SPLATS = {
    "type": "optimize", "name": "splats", "renderer": {"type": "splat"}, "steps": 400, "views_per_step": 2,
    "learning_rate": 0.02, "loss": [{"type": "photometric"}, {"type": "mask", "weight": 0.5},
                                    {"type": "compactness", "opacity": 0.01, "scale": 0.3}],
    "representation": {"type": "gaussians", "count": 8000, "max_count": 10000, "hull_resolution": 80, "sh_degree": 0},
}
FIELD = {
    "type": "optimize", "renderer": {"type": "sdf_volume"}, "steps": 160, "rays": 768,
    "representation": {"type": "sdf_field", "n_levels": 8, "max_resolution": 96, "occupancy_resolution": 48,
                       "hull_steps": 60},
    "loss": [{"type": "photometric"}, {"type": "mask", "weight": 0.5}, {"type": "eikonal", "weight": 0.1},
             {"type": "smoothness", "weight": {"from": 0.005, "to": 0.03, "until_step": 120}}],
}


def recipe(added: list[int]) -> dict:
    """One fit of splats, and for each M its views, field, mesh, and GLB."""
    stages = [{"type": "load_views", "name": "load", "views": "???"}, SPLATS]
    for m in added:
        stages += [
            {"type": "interpolate_views", "name": f"between_{m}", "count": m, "as": {"views": f"views_{m}"},
             "from": {"representation": "splats"}},
            {**FIELD, "name": f"field_{m}", "from": {"views": f"views_{m}"}},
            {"type": "convert", "name": f"to_mesh_{m}", "to": "mesh", "resolution": 64,
             "from": {"views": f"views_{m}"}},
            {"type": "export", "name": f"export_{m}", "file": f"added_{m}", "from": {"asset": "mesh"}}]
    stages[1] = {**SPLATS, "as": {"representation": "splats"}}
    return {"name": "interpolated_views", "threads": 1, "stage": stages}


def cameras_all_around(size: int = 96) -> Camera:
    """24 cameras over the whole sphere, for judging."""
    return orbit(*fibonacci(24, 0.0, (-80.0, 80.0)), 2.6, 30.0, size)


def solid(mesh: Mesh, camera: Camera) -> torch.Tensor:
    """(GRID ** 3,) points that no camera sees into or past: the volume as far as pictures can tell, so that open and
    overlapping meshes have one as well."""
    axis = torch.linspace(-0.55, 0.55, GRID)
    points = torch.cartesian_prod(axis, axis, axis)
    inside = torch.ones(len(points), dtype=torch.bool)
    faces = mesh.faces.int()
    for view in range(len(camera)):
        one = camera[view]
        clip = one.clip_positions(mesh.vertices)
        rast, _ = rasterize(clip, faces, (one.height, one.width))
        depth = interpolate(clip[..., 3:], rast, faces)[0][0, ..., 0]
        depth = torch.where(rast[0, ..., 3] > 0, depth, torch.inf)
        pixel, z = one.project(points)
        column, row = pixel[0].floor().long().unbind(-1)
        within = (column >= 0) & (row >= 0) & (column < one.width) & (row < one.height)
        seen = depth[row.clamp(0, one.height - 1), column.clamp(0, one.width - 1)]
        inside &= ~within | (z[0] >= seen)
    return inside


def compare(result: Mesh, truth: Mesh) -> dict[str, float]:
    """Chamfer distance and IoU of two meshes."""
    camera = cameras_all_around()
    surfaces = [visible_surface(mesh.vertices, mesh.faces, camera, stride=1) for mesh in (result, truth)]
    a, b = (solid(mesh, camera) for mesh in (result, truth))
    return {"chamfer": compare_surfaces(*surfaces)["chamfer"], "iou": float((a & b).sum()) / float((a | b).sum())}


def measure(number: int, added: list[int], output: Path, overrides: list[str]) -> dict[str, dict[str, float]]:
    """Chamfer distance and IoU of one object by M; kept in a file."""
    kept = output / "numbers.json"
    if not kept.exists():
        truth = make_object(0, (CATEGORIES[number % len(CATEGORIES)],), texture_size=256).mesh
        camera = views(SIZE)[0][torch.arange(0, 48, EVERY)]
        maps = render_maps(truth, camera)
        write_split(output / "photos", "train", camera, maps["color"], maps["alpha"])
        settings = {key: json.loads(value) for key, value in (item.split("=", 1) for item in overrides)}
        shutil.rmtree(output / "run", ignore_errors=True)
        asset3d.Run(recipe(added), output / "run", **{"load.views": output / "photos", **settings}).result
        meshes = {m: load_mesh(output / "run" / "result" / f"added_{m}.glb") for m in added}
        kept.write_text(json.dumps({str(m): compare(mesh, truth) for m, mesh in meshes.items()}, indent=1))
    return json.loads(kept.read_text())


def table(measured: dict[str, dict[str, dict[str, float]]], added: list[int]) -> str:
    """A Markdown table: objects, then their mean."""
    lines = ["| object | " + " | ".join(f"M = {m}: chamfer | IoU" for m in added) + " |",
             "|---" * (1 + 2 * len(added)) + "|"]
    mean = {str(m): {key: sum(rows[str(m)][key] for rows in measured.values()) / len(measured)
                     for key in ("chamfer", "iou")} for m in added}
    for name, rows in {**measured, "mean": mean}.items():
        cells = " | ".join(f"{rows[str(m)]['chamfer']:.5f} | {rows[str(m)]['iou']:.4f}" for m in added)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--output", type=Path, default=Path("outputs/interpolated_views"))
    parser.add_argument("--objects", type=int, nargs="+", default=list(range(8)), help="numbers of toys")
    parser.add_argument("--added", type=int, nargs="+", default=[0, 16, 32])
    given = parser.parse_args()
    measured = {}
    for number in given.objects:
        name = CATEGORIES[number % len(CATEGORIES)]
        folder = given.output / name
        folder.mkdir(parents=True, exist_ok=True)
        measured[name] = measure(number, given.added, folder, given.overrides)
        (given.output / "table.json").write_text(json.dumps(measured, indent=1))
        print(table(measured, given.added), flush=True)


if __name__ == "__main__":
    main()
