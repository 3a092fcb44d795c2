"""The scene of the splatting benchmark: a cloud of Gaussians like those of a trained object, from a seed."""
import math

import torch

from asset3d.scene.camera import orbit


def gaussian_scene(n: int = 100_000, resolution: int = 512, channels: int = 3, seed: int = 0) -> dict:
    """Arguments of `rasterize_gaussians`. With the defaults about 4.6 million (Gaussian, pixel) pairs are blended.

    Centres fill the object's ball; sizes are log-normal around 0.8 of a pixel, the axes differ by up to a few times,
    and half of the opacities are above 0.5. The camera is that of the scoring rig.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)
    means = torch.nn.functional.normalize(normal(n, 3), dim=-1) * 0.5 * uniform(n, 1) ** (1 / 3)
    camera = orbit(30.0, 20.0, 2.6, 30.0, resolution)
    pixel = 2.6 * 2 * math.tan(math.radians(15)) / resolution
    scales = pixel * SIGMA * (100_000 / n) ** 0.5 * (0.5 * normal(n, 1) + 0.4 * normal(n, 3)).exp()
    return dict(means=means, quats=normal(n, 4), scales=scales, opacities=0.05 + 0.9 * uniform(n),
                colors=uniform(n, channels), world_to_camera=camera.world_to_camera(), intrinsics=camera.intrinsics,
                resolution=(resolution, resolution))


SIGMA = 0.79
