"""Marching tetrahedra against plain torch: 64^3 cubes of six tets, a wavy sphere; and what only we have."""
import time

import torch
from harness import compare, floor_seconds, peers, row, rows_of_peers

from asset3d.ops.marching_tets import (
    EDGE_ENDS,
    TRIANGLES,
    cube_tet_grid,
    marching_tets,
    marching_tets_dense,
    marching_tets_reference,
    tet_grid,
)


def kaolin_steps(sdf, vertices, grid):
    """The steps of the published implementations, at every call: edges of crossed tets made unique as rows of two
    indices. `marching_tets_reference` is a stronger baseline: it packs the two into one number, which sorts faster."""
    inside = sdf > 0
    inside_tets = inside[grid.tets.long()]
    crossed = inside_tets.any(1) & ~inside_tets.all(1)
    ends = grid.tets[crossed].long()[:, torch.tensor(EDGE_ENDS, device=sdf.device)].reshape(-1, 2).sort(-1).values
    edges, number = torch.unique(ends, dim=0, return_inverse=True)
    crosses = inside[edges].sum(1) == 1
    edges, number = edges[crosses], (crosses.cumsum(0) - 1)[number].reshape(-1, 6)
    case = (inside_tets[crossed] * torch.tensor([1, 2, 4, 8], device=sdf.device)).sum(1)
    table = torch.tensor([row + (0,) * (6 - len(row)) for row in TRIANGLES], device=sdf.device)
    n_triangles = torch.tensor([len(row) // 3 for row in TRIANGLES], device=sdf.device)[case]
    faces = [number[n_triangles == n].gather(1, table[case[n_triangles == n], : 3 * n]).reshape(-1, 3) for n in (1, 2)]
    s, p = sdf[edges], vertices[edges]
    weight = torch.stack([-s[:, 1], s[:, 0]], -1) / (s[:, 0] - s[:, 1])[:, None]
    return (p * weight[..., None]).sum(1), torch.cat(faces)


def wavy_sphere(points):
    return 0.37 - points.norm(dim=-1) + 0.02 * torch.sin(20 * points).sum(-1)


def first_call(make) -> tuple[object, float]:
    start = time.perf_counter()
    grid = make()
    return grid, time.perf_counter() - start


def rows_of(name, grid, need, device, rounds):
    sdf = wavy_sphere(grid.vertices)
    leaves = sdf.clone().requires_grad_(), grid.vertices.clone().requires_grad_()
    grad = torch.rand_like(marching_tets(*leaves, grid)[0])

    def forward(function):
        return lambda: function(sdf, grid.vertices, grid)

    def both(function):
        return lambda: torch.autograd.grad(function(*leaves, grid)[0], leaves, grad)

    functions = {
        "asset3d": marching_tets, "torch, kaolin's steps": kaolin_steps, "torch, packed keys": marching_tets_reference
    }
    others = peers("marching_tets", device)
    functions |= {key: module.marching_tets for key, module in others.items()}
    floor = floor_seconds(device, bytes=4 * (grid.tets.numel() + sdf.numel()))
    forward_times = compare({key: forward(fn) for key, fn in functions.items()}, rounds, device)
    both_times = compare({key: both(fn) for key, fn in functions.items()}, rounds, device)
    return [
        row(f"marching tets, {name}", forward_times, "torch, kaolin's steps", need=need, floor=floor),
        *rows_of_peers(f"marching tets, {name}", forward_times, dict.fromkeys(others, 5.0)),
        row(f"marching tets, {name}", forward_times, "torch, packed keys"),
        row(f"marching tets, {name}, forward + backward", both_times, "torch, kaolin's steps"),
    ]


def run(device: str = "cpu", resolution: int = 64, rounds: int = 8) -> list[dict]:
    cubes, cube_seconds = first_call(lambda: cube_tet_grid((resolution + 1,) * 3).to(device))
    lattice, lattice_seconds = first_call(lambda: tet_grid(resolution).to(device))
    rows = rows_of(f"{resolution}^3 cubes of six ({len(cubes.tets) / 1e6:.2f} M tets)", cubes, 30.0, device, rounds)
    rows += rows_of(f"tet_grid({resolution}) ({len(lattice.tets) / 1e6:.2f} M tets)", lattice, None, device,
                    max(rounds // 4, 1))
    rows += [row(f"marching tets, building the grid of cubes ({resolution})", {"asset3d": cube_seconds}, ""),
             row(f"marching tets, building tet_grid({resolution})", {"asset3d": lattice_seconds}, "")]
    for n in (2 * resolution, 4 * resolution):
        axis = torch.linspace(-0.5, 0.5, n, device=device)
        sdf = 0.37 - (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
        rows.append(row(f"marching tets, dense {n}^3 ({6 * (n - 1) ** 3 / 1e6:.0f} M tets)",
                        compare({"asset3d": lambda: marching_tets_dense(sdf)}, 5, device), ""))
    return rows
