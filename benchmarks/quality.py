"""How good are reconstructions, judged from outside, and which stage loses what?

    python benchmarks/quality.py VIEWS... --score score_glb.py [--ground-truth MESHES] [--output DIR] [key=value ...]

For every view set (a folder): runs recipes/reconstruct.yaml with all defaults (or the overrides given), then the scorer
on the exported GLB. With `--ground-truth`, a folder of GLBs named like the view sets, two more rows give every loss an
address: `texture only` fits a texture to the true geometry, `geometry only` gives the fitted mesh the true colours.
Prints one table and writes it as JSON. What is finished is not repeated: other overrides need another output folder.
"""
import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

FIGURES = ("psnr", "mask_iou", "chamfer", "f1", "normal_consistency", "n_faces")


def score(scorer: Path, glb: Path, views: Path) -> dict[str, float]:
    """The scorer's JSON for one GLB."""
    done = subprocess.run([sys.executable, scorer, glb, views], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def scored_once(kept: Path, scorer: Path, views: Path, make: Callable[[], Path]) -> dict[str, float]:
    """The score of the GLB that `make` returns; kept in a file, from which it comes the next time."""
    if not kept.exists():
        numbers = score(scorer, make(), views)
        kept.write_text(json.dumps(numbers))
    return json.loads(kept.read_text())


def reconstruct(views: Path, output: Path, overrides: list[str]) -> tuple[Path, dict[str, float]]:
    """Run the recipe unless its result is there; returns the GLB, seconds and peak memory in GiB."""
    cost = output / "cost.json"
    if not cost.exists():
        command = [sys.executable, "-m", "asset3d.run", "reconstruct", f"views={views}", f"output={output / 'run'}"]
        subprocess.run([sys.executable, Path(__file__).with_name("measure.py"), cost, *command, *overrides], check=True)
    return output / "run" / "result" / "asset.glb", json.loads(cost.read_text())


def texture_only(views: Path, mesh: Path, output: Path, overrides: list[str]) -> Path:
    """A GLB with the true geometry (box centred, longest side 1) and a texture fitted as the recipe fits it."""
    import torch
    import trimesh

    from asset3d import recipe as recipes
    from asset3d.exporter.gltf import Gltf, GltfConfig
    from asset3d.scene.mesh import Mesh
    from asset3d.scene.views import load_view_set
    from asset3d.stage.base import Context
    from asset3d.stage.texture import Texture

    keep_the_geometry = ["texture.vertex_learning_rate=0", "texture.normal_map=false", "texture.faces=2000000"]
    recipe = recipes.load("reconstruct", [f"views={views}", *overrides, *keep_the_geometry])
    config = next(stage for stage in recipe.stage if stage.name == "texture")
    true = normalised(trimesh.load(mesh, force="mesh"))
    # Finely divided: the stage slides vertices along the surface, by a share of their edges.
    vertices, faces = trimesh.remesh.subdivide_to_size(true.vertices, true.faces, 0.02)
    view_set = load_view_set(views)
    dense = Mesh(view_set.frame.unplaced(torch.tensor(vertices, dtype=torch.float32)), torch.tensor(faces),
                 colors=torch.full((len(vertices), 3), 0.5))
    stage = Texture(config, Context("texture", recipe.seed, torch.device("cpu"), output, output))
    for step in range(stage.start(mesh=dense, views=view_set)):
        stage.step(step)
    asset = stage.finish()["asset"]
    asset.vertices = view_set.frame.placed(asset.vertices)  # a GLB has +Y up
    return Gltf(GltfConfig()).export(asset, output, "texture_only")[0]


def geometry_only(glb: Path, mesh: Path, output: Path) -> Path:
    """The fitted mesh, finely subdivided, with the colour of the nearest point of the true surface."""
    import trimesh
    from scipy.spatial import cKDTree

    true, ours = normalised(trimesh.load(mesh, force="mesh")), trimesh.load(glb, force="mesh")
    points, face = trimesh.sample.sample_surface(true, 2_000_000, seed=0)
    corners = true.visual.uv[true.faces[face]]
    weights = trimesh.triangles.points_to_barycentric(true.triangles[face], points)
    colors = true.visual.material.to_color((corners * weights[..., None]).sum(1))
    vertices, faces = trimesh.remesh.subdivide_to_size(ours.vertices, ours.faces, 0.004)
    _, nearest = cKDTree(points).query(vertices)
    painted = trimesh.Trimesh(vertices, faces, vertex_colors=colors[nearest], process=False)
    painted.export(output / "geometry_only.glb")
    return output / "geometry_only.glb"


def normalised(mesh):
    """The box centred at 0, longest side 1, as the view sets were rendered."""
    low, high = mesh.bounds
    mesh.vertices = (mesh.vertices - (low + high) / 2) / (high - low).max()
    return mesh


def show(rows: dict[str, dict[str, float]]) -> str:
    """A Markdown table with the mean of the complete runs."""
    complete = [row for name, row in rows.items() if "(" not in name]
    rows = rows | {"mean": {figure: float(np.mean([row[figure] for row in complete])) for figure in FIGURES}}
    lines = ["| object | " + " | ".join(FIGURES) + " | seconds | GiB |", "|---" * (len(FIGURES) + 3) + "|"]
    for name, row in rows.items():
        cells = [f"{row[figure]:.5g}" for figure in FIGURES] + [str(row.get(k, "")) for k in ("seconds", "peak_gib")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", type=Path, nargs="+")
    parser.add_argument("--score", type=Path, required=True)
    parser.add_argument("--ground-truth", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs/quality"))
    given, rest = parser.parse_known_args()
    views = [path for path in given.views if "=" not in str(path)]
    overrides = [str(path) for path in given.views if "=" in str(path)] + rest
    rows: dict[str, dict[str, float]] = {}
    for path in views:
        folder = given.output / path.name
        folder.mkdir(parents=True, exist_ok=True)
        glb, cost = reconstruct(path, folder, overrides)
        makers = {path.name: lambda: glb}
        if given.ground_truth:
            mesh = given.ground_truth / f"{path.name}.glb"
            makers[f"{path.name} (texture only)"] = lambda: texture_only(path, mesh, folder, overrides)
            makers[f"{path.name} (geometry only)"] = lambda: geometry_only(glb, mesh, folder)
        for name, kept in zip(makers, ("score", "texture_only", "geometry_only")):
            rows[name] = scored_once(folder / f"{kept}.json", given.score, path, makers[name])
        rows[path.name] |= cost
        (given.output / "quality.json").write_text(json.dumps(rows, indent=1))
        print(show(rows), flush=True)


if __name__ == "__main__":
    main()
