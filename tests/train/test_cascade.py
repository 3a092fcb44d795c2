"""The refiner of Cascade-Zero123: what it is given, what is dropped, what its base is, and that it goes on exactly."""
import json

import pytest
import torch
import trainings
from safetensors.torch import load_file

import asset3d
from asset3d.prior.zero123 import Zero123, relative_pose
from asset3d.train._prompts import around
from asset3d.train.base import Draw
from asset3d.train.cascade import CascadeTrainConfig, CascadeTrainer


def options(cache, base, **more) -> dict:
    return trainings.settings(cache, initial=str(base), **{
        "steps": 12, "train.train.sampling_steps": 2, "train.train.base_steps": 2, "train.train.sources": 40,
        "train.train.targets": 2, "train.validate_every": 12, "train.learning_rate": 0.004, "train.warm_up": 0, **more})


def draw(step: int = 0, batch: int = 6) -> Draw:
    return Draw(step, 10, batch, torch.Generator().manual_seed(step), torch.device("cpu"))


@pytest.fixture
def make(cache, base):
    """A trainer with other settings than the defaults."""
    def make(**settings) -> CascadeTrainer:
        data = {"objects": 12, "views": 4, "size": 32, "cache": str(cache)}
        config = CascadeTrainConfig.model_validate(
            {"data": data, "initial": base, "sources": 40, "targets": 2, "base_steps": 2, **settings})
        trainer = CascadeTrainer(config)
        trainer.build(torch.Generator().manual_seed(0))
        trainer.prepare(lambda text: None, lambda: None)
        return trainer
    return make


@torch.no_grad()
def test_tokens_stand_in_the_published_order(make):
    """Source, coarse target with four zeros for a pose, +45 and -45 degrees of azimuth, +30 of elevation."""
    trainer = make()
    rows, columns = torch.arange(6), torch.tensor([0, 1, 0, 1, 0, 1])
    condition = trainer._condition(trainer.drawn, rows, columns, torch.device("cpu"))
    pairs, pool = trainer.drawn.pairs, trainer.pool
    source = pool.views.poses(pairs.objects[rows], pairs.sources[rows])
    target = pool.views.poses(pairs.objects[rows], pairs.targets[rows, columns])
    prompts, coarse = trainer.drawn.of(rows, columns)
    embeddings = [pool.embeddings_of(pairs.objects[rows], pairs.sources[rows]), coarse, *prompts.unbind(1)]
    poses = [relative_pose(source, target), torch.zeros(6, 4)]
    for azimuth, elevation in ((45, 0), (-45, 0), (0, 30)):
        view = source + torch.tensor([azimuth, elevation, 0.0])
        view[:, 1].clamp_(max=89)
        poses.append(relative_pose(view, target))
    want = torch.stack([trainer.prior.cc_projection(e, p) for e, p in zip(embeddings, poses)], 1)
    torch.testing.assert_close(condition.tokens, want, atol=1e-5, rtol=0)
    assert torch.equal(condition.latents, pool.latents_of(pairs.objects[rows], pairs.sources[rows]))
    assert (pairs.targets != pairs.sources[:, None]).all()


@torch.no_grad()
def test_what_is_drawn_is_what_the_base_draws(make):
    """The pool against the prior itself, on images."""
    trainer = make(base_guidance=2.0)
    trainer.drawn.draw(trainer.prior, torch.tensor([7]), torch.Generator().manual_seed(3))
    columns = trainer.drawn.goals.shape[1]
    assert columns == 5
    row, column = 7 // columns, 7 % columns
    pairs, views = trainer.drawn.pairs, trainer.pool.views
    image = views.images(pairs.objects[row : row + 1], pairs.sources[row : row + 1])
    pose = views.poses(pairs.objects[row : row + 1], pairs.sources[row : row + 1])
    condition = trainer.prior.condition(image[:, None], pose[:, None], trainer.drawn.goals[row, column][None])
    want = trainer.prior.embed(trainer.prior.sample(condition, torch.Generator().manual_seed(3), steps=2,
                                                    guidance_scale=2.0, eta=0))
    got = trainer.drawn.made[row, column][None].float()
    torch.testing.assert_close(got, want, atol=0.01, rtol=0.01)  # images are kept in bytes, embeddings in float16


@pytest.mark.parametrize("drop_prompts", [False, True])
def test_only_the_source_and_the_coarse_target_are_dropped(make, drop_prompts):
    trainer = make(drop_tokens=0.999, drop_latents=(0, 0), drop_prompts=drop_prompts)
    seen = []
    trainer.denoising_loss = lambda latents, condition, draw: seen.append(condition) or torch.zeros(())
    trainer.loss(draw(batch=32))
    kept = seen[0].tokens.abs().sum(-1) > 0
    assert not kept[:, :2].any() and kept[:, 2:].all() != drop_prompts and seen[0].tokens.shape[1] == 5


@pytest.mark.parametrize("settings, n_tokens", [
    ({"coarse_target": False}, 4), ({"self_prompts": "random"}, 5),
    ({"self_prompts": ((90, 0), (180, 0), (270, 0))}, 5),
    ({"self_prompts": tuple((a, e) for a in (-135, -90, -45, 45, 90, 135) for e in (-10, 30))}, 14),
    ({"self_prompts": (), "coarse_target": True}, 2), ({"source_alone": 0.999}, 1)])
def test_the_rows_of_the_ablation_can_be_said(make, settings, n_tokens):
    trainer, seen = make(**settings), []
    trainer.denoising_loss = lambda latents, condition, draw: seen.append(condition) or torch.zeros(())
    trainer.loss(draw())
    assert seen[0].tokens.shape[1] == n_tokens and seen[0].tokens.isfinite().all()


def test_random_prompts_are_all_around_and_the_same_at_each_call():
    source = torch.tensor([[0.0, 0.0, 1.8]]).expand(500, -1)
    poses = around(source, "random")
    assert torch.equal(poses, around(source, "random")) and poses.shape == (500, 3, 3)
    assert poses[..., 0].min() < -170 and poses[..., 0].max() > 170
    height = torch.deg2rad(poses[..., 1]).sin()  # uniform on a sphere
    assert abs(height.mean()) < 0.05 and abs(height.square().mean() - 1 / 3) < 0.03


@pytest.mark.parametrize("base_is, follows", [("ema", True), ("frozen", False)])
def test_the_base_follows_the_average_or_stays(make, base_is, follows):
    """Drawn anew with the same noise, views differ exactly when the base has changed."""
    from contextlib import nullcontext

    trainer = make(base=base_is, regenerations=20)
    trainer.refresh(draw(0), nullcontext)
    before = trainer.drawn.made.clone()
    with torch.no_grad():
        for p in trainer.prior.unet.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    trainer.refresh(draw(0), nullcontext)
    assert torch.equal(before, trainer.drawn.made) != follows


def test_the_pool_is_renewed_as_often_as_asked(make, monkeypatch):
    from contextlib import nullcontext

    trainer, drawn = make(regenerations=3), []
    monkeypatch.setattr(trainer.drawn, "draw", lambda base, entries, generator: drawn.extend(entries.tolist()))
    for step in range(10):
        trainer.refresh(draw(step), nullcontext)
    times = torch.bincount(torch.tensor(drawn), minlength=len(trainer.drawn))
    assert len(drawn) == 3 * 200 // 64 * 64 and times.min() >= 2 and times.max() == 3


def test_a_refiner_that_was_stopped_ends_in_the_same_bytes(cache, base, tmp_path):
    asset3d.Run("train/cascade", tmp_path / "run", **options(cache, base)).result
    model = tmp_path / "run" / "result" / "model"
    card = json.loads((model / "card.json").read_text())
    assert card["self_prompts"] == [[45, 0], [-45, 0], [0, 30]] and card["coarse_target"] and card["base"] == "itself"
    for path in cache.rglob("drawn-*"):
        path.unlink()
    again = trainings.stopped_and_resumed("train/cascade", tmp_path / "other", 7, options(cache, base))
    assert again == trainings.tensors_of(model) and Zero123.load(model).image_size == 32


def test_cross_attention_of_the_refiner_learns(cache, base, tmp_path):
    asset3d.Run("train/cascade", tmp_path / "run", **options(cache, base, steps=4)).result
    state = load_file(max((tmp_path / "run").rglob("checkpoints/**/*.safetensors")))
    momenta = [value.abs().max() for name, value in state.items()
               if name.startswith("adam/exp_avg/") and name.endswith("attn2.to_q.weight")]
    assert len(momenta) >= 3 and min(momenta) > 0
    assert state["buffer/views_drawn"].shape[:2] == (40, 5)


def test_drawing_goes_on_where_it_was_stopped(make, cache, monkeypatch):
    """A pool that was cut short holds the same at the end as one that was not."""
    from asset3d.errors import Cancelled

    whole = make(base_steps=3).drawn.made.clone()
    for path in cache.rglob("drawn-*"):
        path.unlink()
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    trainer = make(base_steps=2)
    trainer.drawn.config = trainer.config.model_copy(update={"base_steps": 3})
    with pytest.raises(Cancelled):
        trainer.drawn.fill(trainer.prior, lambda text: None, stop)
    told = []
    trainer.drawn.made.zero_()
    trainer.drawn.fill(trainer.prior, told.append, lambda: None)
    assert torch.equal(trainer.drawn.made, whole) and "drawing 72 views" in told[0]
