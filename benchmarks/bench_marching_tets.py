"""Marching tetrahedra against plain torch: 64^3 cubes of six tets, a wavy sphere; and what only we have."""
import time

import torch
from harness import compare, row

from asset3d.ops.marching_tets import (
    EDGE_ENDS,
    cube_tet_grid,
    marching_tets,
    marching_tets_dense,
    marching_tets_reference,
    tet_grid,
)


def unique_pairs(sdf, vertices, grid):
    """The costly step of the published implementations: edges of crossed tets made unique as rows of two indices. Our
    reference packs them into one number first, which sorts faster; it is the baseline of the other rows."""
    inside = (sdf > 0)[grid.tets.long()]
    crossed = grid.tets[inside.any(1) & ~inside.all(1)].long()
    return torch.unique(crossed[:, torch.tensor(EDGE_ENDS, device=sdf.device)].sort(-1).values.reshape(-1, 2), dim=0)


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

    functions = {"asset3d": marching_tets, "torch": marching_tets_reference}
    times = compare({key: forward(fn) for key, fn in functions.items()}, rounds, device)
    times["torch, rows made unique"] = compare({"": forward(unique_pairs)}, max(rounds // 4, 1), device)[""]
    return [
        row(f"marching tets, {name}", times, "torch", need=need),
        row(f"marching tets, {name}", times, "torch, rows made unique"),
        row(f"marching tets, {name}, forward + backward",
            compare({key: both(fn) for key, fn in functions.items()}, rounds, device), "torch"),
    ]


def run(device: str = "cpu", resolution: int = 64, rounds: int = 12) -> list[dict]:
    cubes, cube_seconds = first_call(lambda: cube_tet_grid((resolution + 1,) * 3).to(device))
    lattice, lattice_seconds = first_call(lambda: tet_grid(resolution).to(device))
    rows = rows_of(f"{resolution}^3 cubes of six ({len(cubes.tets) / 1e6:.2f} M tets)", cubes, 30.0, device, rounds)
    rows += rows_of(f"tet_grid({resolution}) ({len(lattice.tets) / 1e6:.2f} M tets)", lattice, None, device, max(rounds // 4, 1))
    rows += [row(f"marching tets, building the grid of cubes ({resolution})", {"asset3d": cube_seconds}, ""),
             row(f"marching tets, building tet_grid({resolution})", {"asset3d": lattice_seconds}, "")]
    for n in (2 * resolution, 4 * resolution):
        axis = torch.linspace(-0.5, 0.5, n, device=device)
        sdf = 0.37 - (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
        rows.append(row(f"marching tets, dense {n}^3 ({6 * (n - 1) ** 3 / 1e6:.0f} M tets)",
                        compare({"asset3d": lambda: marching_tets_dense(sdf)}, 5, device), ""))
    return rows
