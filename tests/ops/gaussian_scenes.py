"""Small scenes of Gaussians for the tests of their operators."""
from typing import NamedTuple

import torch

from asset3d.scene.camera import orbit


class Scene(NamedTuple):
    """The arguments of `rasterize_gaussians`, in order."""

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    colors: torch.Tensor
    world_to_camera: torch.Tensor
    intrinsics: torch.Tensor
    resolution: tuple[int, int]

    def leaves(self) -> "Scene":
        """The same with what has a gradient as leaves that require one."""
        return Scene(*(tensor.detach().clone().requires_grad_() for tensor in self[:5]), *self[5:])

    def reordered(self, order) -> "Scene":
        return Scene(*(tensor[order] for tensor in self[:5]), *self[5:])


def scene(n=40, device="cpu", dtype=torch.float64, resolution=(23, 37), views=2, channels=3, sigma=0.08,
          opacity=(0.1, 1.0), seed=1) -> Scene:
    """Random Gaussians in the object's cube, seen by cameras around it."""
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)
    camera = orbit([10.0, 120.0, 250.0][:views], [20.0, -10.0, 50.0][:views], 2.6, 30.0, *resolution)
    values = (random(n, 3) - 0.5, torch.randn(n, 4, generator=generator, dtype=torch.float64),
              0.01 + sigma * random(n, 3), opacity[0] + (opacity[1] - opacity[0]) * random(n), random(n, channels),
              camera.world_to_camera(), camera.intrinsics)
    return Scene(*(value.to(device, dtype) for value in values), resolution)


def weighted(images, seed=3):
    """A sum of outputs that no gradient of zero can hide in."""
    generator = torch.Generator().manual_seed(seed)
    return sum((image * torch.rand(image.shape, generator=generator, dtype=torch.float64).to(image)).sum()
               for image in images)
