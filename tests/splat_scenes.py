"""Gaussians to test with."""
import torch

from asset3d.scene.harmonics import TERMS
from asset3d.scene.splats import Splats


def random_splats(count: int, degree: int = 1, seed: int = 0, size: float = 0.05) -> Splats:
    """Gaussians of all shapes in [-0.4, 0.4]^3, opaque and faint ones."""
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    quats = torch.nn.functional.normalize(normal(count, 4).double(), dim=-1).float()
    return Splats(uniform(count, 3) * 0.8 - 0.4, quats, size * (0.3 + uniform(count, 3)), 0.02 + 0.96 * uniform(count),
                  normal(count, TERMS[degree], 3) * 0.4)
