"""Hash grid against a plain-torch implementation: 2^18 points, 16 levels, 2 features, tables of 2^19 rows."""
import torch
from harness import compare, floor_seconds, peers, row, rows_of_peers

from asset3d.ops.hash_grid import HashGridLevels, hash_grid_encode, hash_grid_levels


def torch_encode(x: torch.Tensor, table: torch.Tensor, levels: HashGridLevels) -> torch.Tensor:
    """A good plain-torch implementation: int32 hashing, one gather of 8 corners per level, products of pairs."""
    features = []
    primes = torch.tensor([1, 2654435761 - 2**32, 805459861], dtype=torch.int32, device=x.device)
    sizes = [end - begin for begin, end in zip(levels.first_rows, levels.first_rows[1:])]
    for scale, resolution, rows, size in zip(levels.scales, levels.resolutions, table.split(sizes), sizes):
        place = x.clamp(0, 1) * scale + 0.5
        cell = place.detach().floor()
        upper = place - cell
        lower = 1 - upper
        vertex = cell.int()
        dense = resolution**3 <= size
        factor = torch.tensor([1, resolution, resolution**2], dtype=torch.int32, device=x.device) if dense else primes
        low = vertex * factor
        high = low + factor
        part = torch.stack([low, high], -1)  # N, axis, side
        px, py, pz = part.unbind(1)
        weight = torch.stack([lower, upper], -1)
        wx, wy, wz = weight.unbind(1)
        if dense:
            row = px[:, None, None, :] + py[:, None, :, None] + pz[:, :, None, None]
            row = torch.where(row >= size, row - size, row)
        else:
            row = (px[:, None, None, :] ^ py[:, None, :, None] ^ pz[:, :, None, None]) & (size - 1)
        w = wx[:, None, None, :] * wy[:, None, :, None] * wz[:, :, None, None]
        value = torch.nn.functional.embedding(row.flatten(1), rows)
        features.append(torch.bmm(w.flatten(1)[:, None], value)[:, 0])
    return torch.cat(features, -1)


def run(device: str = "cpu", n: int = 2**18, rounds: int = 3, log2_hashmap_size: int = 19) -> list[dict]:
    levels = hash_grid_levels(16, 16, 2048, log2_hashmap_size)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, generator=generator).to(device)
    table = torch.randn(levels.first_rows[-1], 2, generator=generator).to(device).requires_grad_()
    grad = torch.randn(n, 32, generator=generator).to(device)
    points = x.clone().requires_grad_()
    encoders = {"asset3d": lambda p: hash_grid_encode(p, table, *levels),
                "torch": lambda p: torch_encode(p, table, levels)}
    others = peers("hash_grid", device)
    encoders |= {name: lambda p, m=module: m.hash_grid_encode(p, table, *levels) for name, module in others.items()}
    moved = 4 * (x.numel() + table.numel() + grad.numel())
    floor = floor_seconds(device, bytes=moved, l2_bytes=n * 16 * 8 * 32)  # 8 corners of 16 levels, a sector each

    def forward(encode):
        with torch.no_grad():
            return encode(x)

    def normals(encode):
        """The pattern of NeuS: a gradient in x that is itself trained."""
        (normal,) = torch.autograd.grad(encode(points), points, grad, create_graph=True)
        return torch.autograd.grad(normal.square().sum(), table)

    work = {
        "hash grid forward": (forward, 12.0),
        "hash grid forward + backward to table": (lambda e: torch.autograd.grad(e(x), table, grad), 10.0),
        "hash grid forward + backward to table and points":
            (lambda e: torch.autograd.grad(e(points), (table, points), grad), 10.0),
        "hash grid forward + normals + their backward to table": (normals, None),
    }
    # 2048 cells per axis leave float32 1e-4 of a cell, which torch rounds without a fused multiply-add.
    torch.testing.assert_close(forward(encoders["asset3d"]), forward(encoders["torch"]), rtol=0, atol=2e-3)
    seconds = lambda fn: compare({key: (lambda e=e: fn(e)) for key, e in encoders.items()}, rounds, device)
    rows = []
    for name, (fn, need) in work.items():
        times = seconds(fn)
        rows.append(row(name, times, "torch", need=need, floor=floor if name == "hash grid forward" else None))
        rows += rows_of_peers(name, times, dict.fromkeys(others, 1.0))
    return rows
