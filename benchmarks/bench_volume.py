"""Volume rendering along 8192 rays of a rig around the unit cube: box, marching through 128^3 cells, compositing."""
import torch
from harness import compare, row

from asset3d.ops.volume import composite_rays, composite_rays_reference, march_rays, march_rays_reference, ray_box

LOWER, UPPER = (-0.5,) * 3, (0.5,) * 3


def rays(n: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    origins = 2.6 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    targets = torch.rand(n, 3, generator=generator) - 0.5
    directions = torch.nn.functional.normalize(targets - origins, dim=1)
    return tuple(x.to(device) for x in (origins, directions, torch.rand(n, generator=generator)))


def shell(cells: int, device: str) -> torch.Tensor:
    """The cells near a sphere: what an occupancy grid looks like after some training."""
    axis = torch.linspace(-0.5, 0.5, cells, device=device)
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    return ((radius - 0.37).abs() < 0.03).contiguous()


def marching(origins, directions, occupancy, offsets, work, rounds, device):
    step = 3**0.5 / 1024
    functions = {"asset3d": march_rays, "torch": march_rays_reference}
    times = {
        key: (lambda f=fn: f(origins, directions, occupancy, LOWER, UPPER, step, offsets))
        for key, fn in functions.items()
    }
    samples = march_rays(origins, directions, occupancy, LOWER, UPPER, step, offsets)
    return samples, row(f"{work} ({len(samples.t)} samples)", compare(times, rounds, device), "torch")


def run(device: str = "cpu", n_rays: int = 8192, rounds: int = 3) -> list[dict]:
    origins, directions, offsets = rays(n_rays, device)
    occupancy = shell(128, device)
    samples, shell_row = marching(origins, directions, occupancy, offsets, "march rays, shell", rounds, device)
    _, full_row = marching(origins[: n_rays // 8], directions[: n_rays // 8], torch.ones_like(occupancy),
                           offsets[: n_rays // 8], "march rays, all occupied", rounds, device)
    generator = torch.Generator().manual_seed(1)
    alpha = (torch.rand(len(samples.t), generator=generator) * 0.1).to(device).requires_grad_()
    values = torch.rand(len(samples.t), 4, generator=generator).to(device).requires_grad_()
    functions = {"asset3d": composite_rays, "torch": composite_rays_reference}
    grads = [torch.rand_like(output) for output in composite_rays(alpha, values, samples.first)]

    def both(function):
        return torch.autograd.grad(function(alpha, values, samples.first), (alpha, values), grads)

    return [
        row("ray box", compare({"asset3d": lambda: ray_box(origins, directions, LOWER, UPPER)}, 10, device), ""),
        shell_row,
        full_row,
        row(f"composite rays ({len(alpha)} samples), forward + backward",
            compare({key: (lambda f=fn: both(f)) for key, fn in functions.items()}, 3 * rounds, device), "torch"),
    ]
