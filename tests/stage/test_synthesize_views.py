"""New views drawn by a prior, alone and in a cascade, with tiny random networks."""
import pytest
import tiny_models
import torch
from asset3d.prior.zero123 import rig_poses
from asset3d.registry import component
from asset3d.scene.camera import orbit_of
from asset3d.scene.matting import before_white
from asset3d.scene.views import ViewSet
from asset3d.stage.base import Context


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "refiner")):
        tiny_models.zero123(seed).save(folder / name)
    return folder


def stage(models, folder, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    cls = component("stage", "synthesize_views")
    prior = {"type": "zero123", "model": str(models / "base")}
    settings = {"prior": prior, "sampling_steps": 2, "count": 5, "batch": 2} | settings
    context = Context("synthesize", 0, torch.device("cpu"), folder, folder)
    return cls(cls.Config.model_validate(settings), context)


def run(made, views, stop_after=None):
    steps = made.start(views)
    for step in range(steps if stop_after is None else stop_after):
        made.step(step)
    return steps


def cascade(models, **settings):
    return {"prior": {"type": "zero123", "model": str(models / "refiner")},
            "base": {"type": "zero123", "model": str(models / "base")}, **settings}


@pytest.fixture()
def given():
    return ViewSet(tiny_models.given_view(48))


def test_new_views_join_the_given_one(models, given, tmp_path):
    made = stage(models, tmp_path)
    assert run(made, given) == 3
    train = made.finish()["views"].train
    assert len(train) == 6 and train.color.shape[1:3] == (48, 48)
    torch.testing.assert_close(train.color[:1], given.train.color)
    poses = orbit_of(train.camera[list(range(1, 6))])
    assert poses[:, 1].min() > -20 and poses[:, 1].max() < 60


def test_given_views_may_count_more(models, given, tmp_path):
    made = stage(models, tmp_path, copies=3, count=2)
    run(made, given)
    train = made.finish()["views"].train
    assert train.names == ("front", "front (2)", "front (3)", "view_000", "view_001")
    assert torch.equal(train.color[0], train.color[2])


@pytest.mark.parametrize("coarse_target", ["per_view", "off"])
def test_views_do_not_depend_on_their_batch(models, given, tmp_path, coarse_target):
    images = []
    for batch in (1, 5):
        made = stage(models, tmp_path / str(batch), **cascade(models, coarse_target=coarse_target, batch=batch))
        run(made, given)
        images.append(made.images)
    assert len(images[0]) == 3 + 5
    torch.testing.assert_close(images[0], images[1], atol=1e-4, rtol=0)  # sums of one image in another order


def test_the_coarse_target_changes_the_views(models, given, tmp_path):
    images = []
    for coarse_target in ("per_view", "off"):
        made = stage(models, tmp_path / coarse_target, **cascade(models, coarse_target=coarse_target))
        run(made, given)
        images.append(made.images)
    torch.testing.assert_close(images[0][:3], images[1][:3])
    assert (images[0][3:] - images[1][3:]).abs().max() > 1e-3


def test_a_cascade_goes_on_where_it_was_stopped(models, given, tmp_path):
    whole = stage(models, tmp_path / "whole", **cascade(models))
    steps = run(whole, given)
    stopped = stage(models, tmp_path / "stopped", **cascade(models))
    run(stopped, given, stop_after=2)
    resumed = stage(models, tmp_path / "resumed", **cascade(models))
    resumed.start(given)
    resumed.load_state(stopped.state())
    for step in range(2, steps):
        resumed.step(step)
    assert torch.equal(resumed.images, whole.images)


def test_guides_are_for_priors_alone(models, given, tmp_path):
    made = stage(models, tmp_path, poses=[(45, 0), (-45, 0), (0, 30)], use="guide")
    run(made, given)
    views = made.finish()["views"]
    assert len(views.train) == 1 and len(views.guides) == 3
    first = rig_poses(given.train.camera)[0]
    torch.testing.assert_close(rig_poses(views.guides.camera)[2, 1], first[1] + 30, atol=1e-3, rtol=0)  # degrees


def test_what_is_white_is_cut_out_and_a_highlight_stays():
    row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    radius = ((row - 31.5).square() + (column - 31.5).square()).sqrt()
    image = torch.ones(64, 64, 3)
    image[radius < 20] = torch.tensor([0.8, 0.2, 0.1])
    image[radius < 1.5] = 0.95  # a highlight, nearly white
    color, alpha = before_white(image)
    assert alpha[radius < 18].min() == 1 and alpha[radius > 22].max() == 0
    torch.testing.assert_close(color[32, 20], torch.tensor([0.8, 0.2, 0.1]))
