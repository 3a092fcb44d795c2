"""Real meshes: visibility against exact ray casting, and silhouette gradients against a supersampled render."""
import math

import numpy as np
import pytest
import torch
from real_data import shared

from asset3d.ops.triangle import antialias, face_topology, interpolate, rasterize
from tests.ops.triangle_scenes import look, projection, to_clip

MESHES = ["geometry/penguin.obj", "textured_glb/spot_cow.glb", "geometry/goathead.obj"]
DISTANCE = 2.2
DIRECTIONS = ["right", "up", "back", "turn x", "turn y", "turn z", "scale"]


def load(name):
    """Vertices (V, 3), centred, longest side 1; faces (F, 3)."""
    import trimesh

    mesh = trimesh.load(shared("data", "meshes", *name.split("/")), force="scene", process=False).to_geometry()
    vertices = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float64)
    low, high = vertices.amin(0), vertices.amax(0)
    return (vertices - (low + high) / 2) / (high - low).max(), torch.tensor(np.asarray(mesh.faces), dtype=torch.int32)


@pytest.mark.parametrize("name", MESHES)
def test_agrees_with_ray_casting(name):
    """The same face at 99.9 % of the pixels whose 3 x 3 neighbourhood shows one face or a smooth depth."""
    trimesh = pytest.importorskip("trimesh")
    intersector = pytest.importorskip("trimesh.ray.ray_pyembree")
    vertices, faces = load(name)
    size, view = 256, look(distance=DISTANCE)
    rast, _ = rasterize(to_clip(vertices, projection() @ view).float(), faces, (size, size))
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    inverse = torch.linalg.inv(view)
    along = ((torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1) * math.tan(math.radians(15))
    y, x = torch.meshgrid(along, along, indexing="ij")
    directions = torch.stack([x, -y, -torch.ones_like(x)], -1).reshape(-1, 3) @ inverse[:3, :3].T
    origins = inverse[:3, 3].expand_as(directions)
    hit = torch.tensor(intersector.RayMeshIntersector(mesh).intersects_first(origins.numpy(), directions.numpy()))
    hit = hit.reshape(size, size)
    got = rast[0, ..., 3].long() - 1
    window = torch.nn.functional.unfold(hit[None, None].double(), 3, padding=1).reshape(9, size, size)
    inside = (window == hit).all(0)  # no edge of any face within a pixel
    assert inside.float().mean() > 0.5 and (hit[inside] >= 0).any()
    assert (got == hit)[inside].double().mean() >= 0.999
    assert ((got >= 0) == (hit >= 0)).double().mean() >= 0.999  # edges included


def smooth_image(size, channels, seed):
    small = torch.rand(1, channels, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(small, (size, size), mode="bicubic", align_corners=True).movedim(1, 3)


def moved(vertices, motion):
    """Turned, scaled, shifted by seven numbers, in the order of DIRECTIONS."""
    x, y, z = motion[3:6]
    zero = torch.zeros_like(x)
    turn = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    return vertices @ torch.linalg.matrix_exp(turn).T * (1 + motion[6]) + motion[:3]


class Scene:
    """A mesh whose colour varies slowly, before white."""

    def __init__(self, name, size=192, samples=8):
        self.vertices, self.faces = load(name)
        self.topology = face_topology(self.faces, self.vertices)
        self.size, self.samples = size, samples
        self.matrix = projection() @ look(distance=DISTANCE)
        wave = torch.tensor([[3.5, 1.5, 0.5], [1.0, -3.0, 2.0], [-1.5, 1.0, 4.0]], dtype=torch.float64)
        self.color = (0.3 + 0.1 * torch.sin(self.vertices @ wave)).float()[None]

    def draw(self, motion, size):
        positions = to_clip(moved(self.vertices, motion), self.matrix).float()
        rast, _ = rasterize(positions, self.faces, (size, size))
        color, _ = interpolate(self.color, rast, self.faces)
        return torch.where(rast[..., 3:] > 0, color, 1.0), rast, positions

    def antialiased(self, motion):
        color, rast, positions = self.draw(motion, self.size)
        return antialias(color, rast, positions, self.faces, self.topology).double()

    @torch.no_grad()
    def supersampled(self, motion):
        color = self.draw(motion, self.size * self.samples)[0].double()
        return color.reshape(1, self.size, self.samples, self.size, self.samples, 3).mean((2, 4))


@pytest.mark.parametrize("name", MESHES)
def test_antialias_gradients_match_a_supersampled_render(name):
    """Within 10 % in six rigid directions and scale, at 64 samples per pixel.

    For each direction the loss is the weighted squared distance to a render moved some pixels in that direction. A
    target like that moves every silhouette to the same side; with one in which the pulls of opposite silhouettes
    cancel, the sum would be compared with the noise of its parts.
    """
    scene = Scene(name)
    weight = 0.5 + smooth_image(scene.size, 1, 1)
    pixel = DISTANCE * math.tan(math.radians(15)) * 2 / scene.size
    ratios = {}
    for k, direction in enumerate(DIRECTIONS):
        unit = torch.zeros(7, dtype=torch.float64)
        unit[k] = pixel * (1 if k < 3 else 2.5)  # about one pixel at the silhouette
        if direction == "back":
            unit[k] *= DISTANCE / 0.4
        target = scene.supersampled(5 * unit)
        loss = lambda image: (weight * (image - target) ** 2).sum()  # noqa: B023, E731
        motion = torch.zeros(7, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(scene.antialiased(motion)), motion)
        step = 0.5
        difference = loss(scene.supersampled(step * unit)) - loss(scene.supersampled(-step * unit))
        ratios[direction] = float((gradient * unit).sum() / (difference / (2 * step)))
    assert all(0.9 < ratio < 1.1 for ratio in ratios.values()), ratios
