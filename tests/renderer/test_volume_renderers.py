"""The volume renderers against fields whose pictures are known."""
import math

import torch

from asset3d.renderer.base import Rays
from asset3d.renderer.sdf_volume import SdfVolumeConfig, SdfVolumeRenderer, section_alpha
from asset3d.renderer.volume import VolumeConfig, VolumeRenderer, march, positions, visible
from asset3d.representation._occupancy import OccupancyGrid
from asset3d.scene.camera import orbit

CAMERA = orbit([0, 70], [10, -20], 2.6, 30, 40)


class Ball:
    """A ball of radius 0.3 whose colour is its position; as a distance, and as a constant density of 8."""

    sharpness = torch.tensor(600.0)

    def __init__(self):
        self.occupancy = OccupancyGrid(32)

    def __call__(self, x):
        return self.sdf(x), x

    def sdf(self, x):
        return x.norm(dim=-1) - 0.3

    def gradient(self, x):
        return torch.nn.functional.normalize(x, dim=-1)

    def color(self, x, features):
        return x + 0.5


class Fog(Ball):
    def __call__(self, x):
        return self.density(x), x

    def density(self, x):
        return 8.0 * (x.norm(dim=-1) < 0.3)


def exact(rays):
    """Entry distance and chord length of the ball, 0 where it is missed."""
    b = (rays.origins * rays.directions).sum(-1)
    root = (b.square() - rays.origins.square().sum(-1) + 0.09).clamp(min=0).sqrt()
    return -b - root, 2 * root


def test_a_sharp_distance_renders_as_its_surface():
    rendering = SdfVolumeRenderer(SdfVolumeConfig(normals=True)).render(Ball(), CAMERA)
    rays = Rays.of_camera(CAMERA)
    entry, chord = exact(rays)
    inside = chord > 0.15
    shape = (len(rays), -1)
    assert rendering.alpha.reshape(shape)[inside].min() > 0.99
    assert rendering.alpha.reshape(shape)[chord == 0].mean() < 0.02
    depth = entry[:, None] * rays.depth_scale
    # a section is 1/256 long, so the surface is found to a fraction of that
    assert (rendering.depth.reshape(shape) - depth)[inside].abs().max() < 4e-3
    hit = rays.origins + entry[:, None] * rays.directions
    assert (rendering.color.reshape(shape) - hit - 0.5)[inside].abs().max() < 0.01
    cosine = (rendering.normal.reshape(shape) * hit / 0.3).sum(-1)[inside]
    assert cosine.min() > 0.999


def test_constant_density_follows_beer_lambert():
    rendering = VolumeRenderer(VolumeConfig(step_size=1 / 512)).render(Fog(), CAMERA)
    _, chord = exact(Rays.of_camera(CAMERA))
    want = 1 - torch.exp(-8 * chord)
    assert (rendering.alpha.flatten() - want).abs().max() < 0.02  # sections at the rim are in or out as a whole
    assert (rendering.alpha.flatten() - want)[chord > 0.2].abs().max() < 5e-3


def test_hidden_samples_may_be_left_out():
    ball, rays = Ball(), Rays.of_camera(CAMERA)
    samples = march(ball, rays, 1 / 256, None)
    alpha = section_alpha(ball.sdf(positions(rays, samples)), samples, ball.sharpness)
    kept, _ = visible(samples, alpha)
    hit = exact(rays)[1] > 0.2
    assert kept.first.diff()[hit].sum() < 0.6 * samples.first.diff()[hit].sum()
    assert torch.equal(kept.first.diff()[exact(rays)[1] == 0], samples.first.diff()[exact(rays)[1] == 0])
    assert kept.first[-1] == len(kept.t_start) and (kept.first.diff() >= 0).all()
    index = torch.arange(len(rays)).repeat_interleave(kept.first.diff())
    assert torch.equal(index, kept.ray)


def test_sections_telescope_to_the_opacity_between_the_ends():
    """NeuS: with equal sections, transmittance is the ratio of the logistic at both ends."""
    ball = Ball()
    ball.sharpness = torch.tensor(20.0)
    rays = Rays(torch.tensor([[0.0, 0, 2.6]]), torch.tensor([[0.0, 0, -1]]), torch.ones(1, 1))
    samples = march(ball, rays, 1 / 256, None)
    front = samples.t_end < 2.6 - 1 / 256  # the distance falls monotonically up to the centre
    alpha = section_alpha(ball.sdf(positions(rays, samples)), samples, ball.sharpness)[front]
    last = float(samples.t_end[front].max())
    transmittance = float((1 - alpha).prod())
    sigmoid = lambda s: 1 / (1 + math.exp(-20 * s))
    assert math.isclose(transmittance, sigmoid(2.3 - last) / sigmoid(0.2), rel_tol=0.01)


def test_no_rays_and_rays_that_miss():
    for field, renderer in ((Ball(), SdfVolumeRenderer(SdfVolumeConfig())), (Fog(), VolumeRenderer(VolumeConfig()))):
        for rays in (Rays(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 1)),
                     Rays(torch.tensor([[0.0, 3, 0]]), torch.tensor([[0.0, 1, 0]]), torch.ones(1, 1))):
            rendering = renderer.render_rays(field, rays)
            assert rendering.alpha.shape == (len(rays), 1) and not rendering.alpha.any()


def test_neighbours_lie_near_the_surface_and_near_each_other():
    rays = Rays.of_camera(CAMERA[0])
    renderer = SdfVolumeRenderer(SdfVolumeConfig(eikonal_points=300, neighbour_distance=0.01))
    ball = Ball()
    ball.occupancy.set((ball.sdf(ball.occupancy.centers()).abs() < 0.03).reshape(32, 32, 32))
    extras = renderer.render_rays(ball, rays, torch.Generator().manual_seed(0)).extras
    assert extras["sdf_gradient"].shape == (300, 3) and extras["neighbour_normals"].shape == (2, 100, 3)
    turn = (extras["neighbour_normals"][0] - extras["neighbour_normals"][1]).norm(dim=-1)
    # Two of the three axes of a step of 0.01 turn the normal of a ball of radius 0.3: 0.01 / 0.3 * sqrt(2) rms.
    assert math.isclose(float(turn.square().mean().sqrt()), 0.01 / 0.3 * 2**0.5, rel_tol=0.15)
    missed = Rays(rays.origins, -rays.directions, rays.depth_scale)
    extras = renderer.render_rays(ball, missed, torch.Generator().manual_seed(0)).extras
    assert extras["neighbour_normals"].shape == (2, 0, 3) and len(extras["sdf_gradient"]) == 100
