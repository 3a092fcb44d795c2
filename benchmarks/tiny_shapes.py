"""Calls every operator once, forward and backward, on tiny shapes: the program that memory and race checkers run.

    compute-sanitizer --tool memcheck python benchmarks/tiny_shapes.py [--device cuda]

Sizes are odd and larger than one warp, so that the last block is partial.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from asset3d.ops import attention, gaussian, hash_grid, marching_tets, triangle, volume


def random(*shape: int, device: str) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(device)


def hash_grid_encode(device: str) -> None:
    levels = hash_grid.hash_grid_levels(3, 4, 16, 8)
    x = random(37, 3, device=device).requires_grad_()
    table = random(levels.first_rows[-1], 2, device=device).requires_grad_()
    for exact in (False, True):
        torch.use_deterministic_algorithms(exact)
        out = hash_grid.hash_grid_encode(x, table, *levels)
        (normal,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        (normal.square().sum() + out.sum()).backward()
    torch.use_deterministic_algorithms(False)


def triangles(device: str) -> None:
    angle = torch.arange(9) * (2 * torch.pi / 9)
    rim = torch.stack([angle.cos(), angle.sin(), 0.3 * angle.sin(), torch.ones(9)], -1) * 0.8
    rim[:, 3] = 1
    positions = torch.cat([torch.tensor([[0.0, 0, 0, 1]]), rim])[None].to(device).requires_grad_()
    faces = torch.tensor([[0, 1 + i, 1 + (i + 1) % 9] for i in range(9)], dtype=torch.int32, device=device)
    uv = random(1, 10, 2, device=device).requires_grad_()
    image = random(1, 16, 16, 3, device=device).requires_grad_()
    rast, rast_db = triangle.rasterize(positions, faces, (37, 41))
    at, at_da = triangle.interpolate(uv, rast, faces, rast_db, [0, 1])
    color = triangle.texture(image, at, at_da, filter_mode="linear-mipmap-linear")
    triangle.antialias(color, rast, positions, faces).square().sum().backward()


def tets(device: str) -> None:
    grid = marching_tets.tet_grid(5)
    grid = grid.to(device) if hasattr(grid, "to") else grid
    vertices = grid.vertices.to(device).requires_grad_()
    sdf = (0.3 - vertices.detach().norm(dim=-1)).requires_grad_()
    surface, _ = marching_tets.marching_tets(sdf, vertices, grid)
    surface.square().sum().backward()


def rays(device: str) -> None:
    origins = torch.tensor([[0.0, 0, 2]]).repeat(37, 1).to(device)
    directions = random(37, 3, device=device) - torch.tensor([0.5, 0.5, 3.0], device=device)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    lower, upper = torch.full((3,), -0.5, device=device), torch.full((3,), 0.5, device=device)
    occupancy = random(8, 8, 8, device=device) > 0.3
    volume.ray_box(origins, directions, lower, upper)
    samples = volume.march_rays(origins, directions, occupancy, lower, upper, 0.05, random(37, device=device))
    n = samples.t_start.shape[0]
    alpha, values = (random(n, device=device) * 0.9).requires_grad_(), random(n, 3, device=device).requires_grad_()
    accumulated, opacity, weights = volume.composite_rays(alpha, values, samples.first)
    (accumulated.square().sum() + opacity.sum() + weights.square().sum()).backward()


def attend(device: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for head_size, sources in ((40, [(1, 67), (2, 9)]), (16, [(1, 1)])):
            leaves = [(random(b, 2, n, head_size, device=device) - 0.5).to(dtype).requires_grad_()
                      for b, n in [(2, 37), *(source for source in sources for _ in "kv")]]
            q, *rest = leaves
            attention.attention(q, list(zip(rest[::2], rest[1::2]))).float().square().sum().backward()


def splats(device: str) -> None:
    """Two cameras, tiles of more entries than a chunk, and as many channels as have a kernel of their own, or not."""
    n, eye = 333, torch.eye(4).repeat(2, 1, 1)
    eye[:, 2, 3] = torch.tensor([-2.0, -2.5])
    intrinsics = torch.tensor([[30.0, 30.0, 20.5, 18.5]]).repeat(2, 1)
    leaves = [random(n, 3, device=device) - 0.5, random(n, 4, device=device), 0.1 * random(n, 3, device=device) + 0.05,
              0.2 * random(n, device=device) + 0.02]
    for channels in (3, 4, 9):
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        colors = random(n, channels, device=device).requires_grad_()
        images = gaussian.rasterize_gaussians(*leaves, colors, eye.to(device), intrinsics.to(device), (37, 41),
                                              background=random(channels, device=device).requires_grad_())
        sum(image.square().sum() for image in images[:3]).backward()


def main() -> None:
    device = sys.argv[sys.argv.index("--device") + 1] if "--device" in sys.argv else "cuda"
    for operator in (hash_grid_encode, triangles, tets, rays, attend, splats):
        operator(device)
        if device == "cuda":
            torch.cuda.synchronize()
        print(f"{operator.__name__}: done", flush=True)


if __name__ == "__main__":
    main()
