"""Triangles: 82 008 faces of a sphere at 512 x 512, against embree's primary rays through trimesh; then each step."""
import math

import torch
from harness import compare, floor_seconds, peers, row, rows_of_peers

from asset3d.ops import triangle
from asset3d.ops.triangle import face_topology, rasterize

SIZE, FOV, DISTANCE = 512, 30.0, 2.0


def sphere(rows: int = 202, columns: int = 204, radius: float = 0.45) -> tuple[torch.Tensor, torch.Tensor]:
    theta = torch.linspace(0, math.pi, rows + 1)[1:-1, None]
    phi = torch.arange(columns)[None] * (2 * math.pi / columns)
    ring = torch.stack([theta.sin() * phi.sin(), theta.cos() + 0 * phi, theta.sin() * phi.cos()], -1).reshape(-1, 3)
    k = torch.arange(columns)
    following, last = (k + 1) % columns, (rows - 2) * columns
    north, south = torch.full_like(k, len(ring)), torch.full_like(k, len(ring) + 1)
    faces = [torch.stack([north, k, following], 1), torch.stack([south, last + following, last + k], 1)]
    for r in range(rows - 2):
        a, b = r * columns + k, r * columns + following
        faces += [torch.stack([a, a + columns, b], 1), torch.stack([b, a + columns, b + columns], 1)]
    poles = torch.tensor([[0.0, 1, 0], [0, -1, 0]])
    return torch.cat([ring, poles]) * radius, torch.cat(faces).int()


def clip_positions(vertices: torch.Tensor) -> torch.Tensor:
    """Seen along -z from (0, 0, DISTANCE), y down, depths from 0.1 to 10."""
    x, y, z = vertices.unbind(-1)
    focal, w = 1 / math.tan(math.radians(FOV) / 2), DISTANCE - z
    return torch.stack([focal * x, -focal * y, (10.1 * w - 2.0) / 9.9, w], -1)[None]


def embree(vertices: torch.Tensor, faces: torch.Tensor):
    """One primary ray per pixel, as trimesh offers it; None without trimesh and embreex."""
    try:
        import trimesh
        from trimesh.ray.ray_pyembree import RayMeshIntersector
    except ImportError:
        return None
    intersector = RayMeshIntersector(trimesh.Trimesh(vertices.cpu().numpy(), faces.cpu().numpy(), process=False))
    along = ((torch.arange(SIZE) + 0.5) * 2 / SIZE - 1) * math.tan(math.radians(FOV) / 2)
    y, x = torch.meshgrid(along, along, indexing="ij")
    directions = torch.stack([x, -y, -torch.ones_like(x)], -1).reshape(-1, 3).numpy()
    origins = torch.tensor([0.0, 0, DISTANCE]).expand(SIZE * SIZE, 3).numpy()
    return lambda: intersector.intersects_first(origins, directions)


def run(device: str = "cpu", rounds: int = 7) -> list[dict]:
    vertices, faces = (t.to(device) for t in sphere())
    positions = clip_positions(vertices).contiguous()
    functions = {"asset3d": lambda: rasterize(positions, faces, (SIZE, SIZE))}
    if (rays := embree(vertices, faces)) is not None:
        functions["embree"] = rays
    others = peers("triangle", device)
    functions |= {name: lambda m=module: m.rasterize(positions, faces, (SIZE, SIZE)) for name, module in others.items()}
    times = compare(functions, rounds, device)
    floor = floor_seconds(device, bytes=4 * (positions.numel() + faces.numel() + 2 * 4 * SIZE * SIZE))
    name = "rasterize 82 008 faces, 512 x 512"
    rows = [row(name, times, "embree", need=3.0, floor=floor), *rows_of_peers(name, times, dict.fromkeys(others, 1.0))]

    topology = face_topology(faces)
    uv = (vertices[None, :, :2] + 0.5).contiguous()
    tex = torch.rand(1, 1024, 1024, 3, generator=torch.Generator().manual_seed(0)).to(device)

    def render(ops, filter_mode: str, backward: bool):
        leaves = [t.clone().requires_grad_(backward) for t in (positions, tex)]
        rast, rast_db = ops.rasterize(leaves[0], faces, (SIZE, SIZE))
        at, at_da = ops.interpolate(uv, rast, faces, rast_db, "all")
        color = ops.texture(leaves[1], at, at_da, filter_mode) * (rast[..., 3:] > 0)
        image = ops.antialias(color, rast, leaves[0], faces, topology)
        return torch.autograd.grad(image.square().sum(), leaves) if backward else image

    for filter_mode in ("linear", "linear-mipmap-linear"):
        for backward in (False, True):
            calls = {name: lambda o=ops, f=filter_mode, b=backward: render(o, f, b)
                     for name, ops in {"asset3d": triangle, **others}.items()}
            times = compare(calls, rounds, device)
            what = "forward + backward" if backward else "forward"
            name = f"rasterize, interpolate, texture ({filter_mode}), antialias: {what}"
            rows += rows_of_peers(name, times, dict.fromkeys(others, 1.0)) or [row(name, times, "")]
    rows.append(row("face_topology", compare({"asset3d": lambda: face_topology(faces)}, rounds, device), "none"))
    return rows
