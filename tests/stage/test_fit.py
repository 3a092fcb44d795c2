"""The fitting loop: it converges, resumes to the bit, and survives non-finite losses."""
from dataclasses import replace

import pytest
import torch
from torch import nn

from asset3d.errors import Diverged
from asset3d.loss.mask import Mask, MaskConfig
from asset3d.loss.photometric import Photometric, PhotometricConfig
from asset3d.renderer.sdf_volume import SdfVolumeConfig, SdfVolumeRenderer
from asset3d.representation._occupancy import OccupancyGrid
from asset3d.representation.base import Representation, Rows
from asset3d.scene.camera import orbit
from asset3d.scene.rendering import Rendering
from asset3d.scene.views import Views
from asset3d.stage._fit import Fit, FitConfig, names_of
from asset3d.stage._sampling import ImageSampler, RaySampler
from asset3d.stage.base import Context


class Ball(Representation):
    """A ball of one colour; radius and colour are fitted."""

    def __init__(self, radius=0.2):
        super().__init__(None)
        self.radius, self.paint = nn.Parameter(torch.tensor(radius)), nn.Parameter(torch.zeros(3))
        self.register_buffer("sharpness", torch.tensor(60.0))
        self.occupancy = OccupancyGrid(16)

    def forward(self, x):
        return self.sdf(x), x

    def sdf(self, x):
        return x.norm(dim=-1) - self.radius

    def color(self, x, features):
        return torch.sigmoid(self.paint).expand(len(x), 3)


def views(size=32, count=4):
    camera = orbit(torch.arange(count) * 90.0, 15, 2.6, 30, size)
    truth = Ball(0.35)
    truth.sharpness.fill_(300.0)
    with torch.no_grad():
        truth.paint.copy_(torch.tensor([0.8, -0.6, 0.2]))
    picture = SdfVolumeRenderer(SdfVolumeConfig(eikonal_points=0)).render(truth, camera)
    return Views(camera, picture.color / picture.alpha.clamp(min=1e-3), picture.alpha.clamp(0, 1),
                 tuple(f"{i}.png" for i in range(count)))


def make(tmp_path, tap=None, **fields):
    extra = {} if tap is None else {"tap": tap}
    context = Context("fit", 7, torch.device("cpu"), tmp_path, tmp_path, **extra)
    config = FitConfig(**({"steps": 60, "rays": 512, "learning_rate": 0.03, "snapshot_every": 10} | fields))
    renderer = SdfVolumeRenderer(SdfVolumeConfig(eikonal_points=0, step_size=1 / 64))
    return Fit(config, context, Ball(), renderer, [Photometric(PhotometricConfig()), Mask(MaskConfig())], views())


def run(fit, steps):
    return [fit.step(step) for step in steps]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_it_finds_radius_and_colour(tmp_path):
    fit = make(tmp_path)
    run(fit, range(60))
    ball = fit.representation
    assert abs(float(ball.radius.detach()) - 0.35) < 0.01
    torch.testing.assert_close(torch.sigmoid(ball.paint.detach()), torch.sigmoid(torch.tensor([0.8, -0.6, 0.2])),
                               atol=0.1, rtol=0)  # as far as 60 steps of 512 pixels get


@pytest.mark.parametrize("stop", [1, 10, 37])
def test_it_resumes_to_the_bit(tmp_path, stop):
    whole, first, second = make(tmp_path), make(tmp_path), make(tmp_path)
    run(whole, range(60))
    run(first, range(stop))
    state = {name: value.clone() for name, value in first.state().items()}
    second.load_state(state)
    run(second, range(stop, 60))
    assert_same(whole.state(), second.state())


class Cloud(Representation):
    """Points that double now and then; the first of them is thrown away then. Their mean is fitted to the colour."""

    def __init__(self):
        super().__init__(None)
        self.points = nn.Parameter(torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.4, 0.3]]))
        self.other = nn.Parameter(torch.zeros(1))

    def end_step(self, done):
        if done.step % 7 != 6:
            return None
        count = len(self.points)
        source = torch.cat([torch.arange(1, count), torch.randint(count, (2,), generator=done.generator)])
        self.points = nn.Parameter(self.points.detach()[source])
        return Rows(source, torch.arange(len(source)) < count - 1)

    def load_state_dict(self, state_dict, *args, **more):
        self.points = nn.Parameter(torch.empty_like(state_dict["points"]))
        return super().load_state_dict(state_dict, *args, **more)

    def numbers(self):
        return {"points": len(self.points)}


class Flat:
    """Draws the mean of the points everywhere."""

    unit = "images"

    def render(self, representation, camera):
        color = representation.points.mean(0) + representation.other
        shape = (len(camera), camera.height, camera.width)
        return Rendering(color.expand(*shape, 3), torch.ones(*shape, 1))


def cloud_fit(tmp_path, tap=None):
    fit = make(tmp_path, tap)
    config = FitConfig(steps=60, learning_rate=0.03, snapshot_every=10, background="grey")
    return Fit(config, fit.context, Cloud(), Flat(), [Photometric(PhotometricConfig()), Mask(MaskConfig())], fit.views)


def test_rows_come_and_go_and_the_optimizer_follows(tmp_path):
    fit = cloud_fit(tmp_path)
    counts = [fit.step(step)["points"] for step in range(6)]
    before = fit.representation.points
    moments = {k: v.clone() for k, v in fit.optimizer.state[before].items()}
    counts += [fit.step(6)["points"]]
    assert counts == [2] * 6 + [3] and fit.representation.points is not before
    state = fit.optimizer.state[fit.representation.points]
    assert fit.optimizer.param_groups[0]["params"][0] is fit.representation.points
    assert before not in fit.optimizer.state and state["step"] == moments["step"] + 1
    assert bool(state["exp_avg_sq"][0].any()) and not state["exp_avg_sq"][1:].any() and not state["exp_avg"][1:].any()
    run(fit, range(7, 60))
    assert fit.representation.points.grad is not None and len(fit.representation.points) == 10


@pytest.mark.parametrize("stop", [1, 7, 10, 37])
@pytest.mark.parametrize("poisoned", [(), (25, 41)])
def test_changing_rows_resume_to_the_bit(tmp_path, stop, poisoned):
    whole, first, second = (cloud_fit(tmp_path, poison(poisoned)) for _ in range(3))
    run(whole, range(60))
    run(first, range(stop))
    second.load_state({name: value.clone() for name, value in first.state().items()})
    run(second, range(stop, 60))
    assert_same(whole.state(), second.state())
    assert whole.failures == len(poisoned)


def poison(at):
    """Puts a NaN into the mask loss of the given steps."""
    return lambda name, step, value: value * float("nan") if name == "mask" and step in at else value


def test_a_non_finite_loss_goes_back_to_the_snapshot_with_half_the_step_size(tmp_path):
    fit = make(tmp_path, poison({25}))
    run(fit, range(25))
    snapshot = {k: v.clone() for k, v in fit.snapshot.items()}
    fit.step(25)
    assert_same(fit._tensors(), snapshot)
    assert fit.slow_down == 0.5 and fit.failures == 1
    run(fit, range(26, 60))
    assert all(torch.isfinite(value).all() for value in fit.state().values())
    assert abs(float(fit.representation.radius.detach()) - 0.35) < 0.02


def test_a_roll_back_survives_a_resume(tmp_path):
    whole, first, second = (make(tmp_path, poison({25, 41})) for _ in range(3))
    run(whole, range(60))
    run(first, range(33))
    second.load_state({name: value.clone() for name, value in first.state().items()})
    run(second, range(33, 60))
    assert_same(whole.state(), second.state())


def test_it_gives_up_and_names_the_loss(tmp_path):
    fit = make(tmp_path, poison(set(range(60))), roll_backs=3)
    with pytest.raises(Diverged, match=r"stage 'fit', step 3: loss 'mask' is not finite, and 3 times before") as caught:
        run(fit, range(60))
    assert caught.value.term == "loss 'mask'" and caught.value.step == 3


def test_a_non_finite_gradient_is_noticed(tmp_path):
    for of in (lambda fit: fit.representation.radius, lambda fit: fit.losses[0].log_gain[0]):
        fit = make(tmp_path, lambda name, step, value: value + (of(fit) * 0).sqrt() if step == 12 else value)
        run(fit, range(14))
        assert fit.failures == 1


def test_two_losses_of_one_type_both_count(tmp_path):
    fit, without = make(tmp_path), make(tmp_path)
    without.step(0)
    fit.losses.append(Mask(MaskConfig(weight=3, difference="cross_entropy")))
    fit.names = names_of(fit.losses)
    told = fit.step(0)
    assert told.keys() == {"photometric", "mask", "mask_2"} and told["mask"] != told["mask_2"]
    slope, alone = (each.representation.radius.grad for each in (fit, without))
    assert abs(float(slope - alone)) > 0.1 * abs(float(alone))


def test_every_round_of_images_shows_each_view_once():
    sampler, seen = ImageSampler(views(count=5)), []
    for step in range(5):
        _, target = sampler.draw(2, step, 16, torch.ones(3), lambda r: torch.Generator().manual_seed(r))
        seen += target.view[:, 0, 0].tolist()
        assert target.color.shape == (2, 16, 16, 3)
    assert sorted(seen[:5]) == sorted(seen[5:]) == list(range(5))


def test_smaller_images_keep_edges_free_of_the_background():
    given = views()
    painted = Views(given.camera, torch.where(given.alpha > 0, given.color, 0.123), given.alpha, given.names)
    _, target = ImageSampler(painted).draw(1, 0, 8, torch.ones(3), lambda r: torch.Generator().manual_seed(r))
    inside = target.alpha[..., 0] > 0.05
    want = torch.sigmoid(torch.tensor([0.8, -0.6, 0.2]))
    assert (target.color[inside] - want).abs().max() < 1e-2


def test_smaller_depths_and_normals_are_samples_of_the_large_ones():
    given = views()
    normal = torch.nn.functional.one_hot(torch.arange(32) % 3, 3).float().expand(4, 32, 32, 3)
    full = replace(given, depth=torch.arange(1024.0).reshape(1, 32, 32, 1).expand(4, -1, -1, -1), normal=normal)
    _, target = ImageSampler(full).draw(2, 0, 8, torch.ones(3), lambda r: torch.Generator().manual_seed(r))
    assert torch.equal(target.depth[0, :, :, 0], full.depth[0, 2::4, 2::4, 0])
    assert (target.normal.norm(dim=-1) == 1).all()


def test_most_rays_meet_the_object():
    rays, target = RaySampler(views()).draw(4000, torch.ones(3), torch.Generator().manual_seed(0))
    assert len(rays) == 4000 and (rays.directions.norm(dim=-1) - 1).abs().max() < 1e-5
    share = (target.alpha > 0.5).float().mean()
    assert share > 1.3 * (views().alpha > 0.5).float().mean()
    assert target.view.unique().tolist() == [0, 1, 2, 3]


def test_a_schedule_of_resolutions_keeps_one_copy_of_the_photos():
    """A linear one passes through hundreds of sizes."""
    sampler = ImageSampler(views(size=32))
    order = lambda round_: torch.Generator().manual_seed(round_)
    for step in range(20):
        _, target = sampler.draw(2, step, 12 + step, torch.ones(3), order)
        assert target.color.shape[1:3] == (12 + step, 12 + step)
    kept = [v for v in vars(sampler).values() if isinstance(v, Views)]
    assert {v.camera.height for v in kept} == {32, 31}
