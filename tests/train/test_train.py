"""Trainers learn, go on to the same bits after a stop, save what priors load, and see nothing that is held out."""
import json

import pytest
import torch
from safetensors.torch import load_file
from trainings import autoencoder_options, settings, stopped_and_resumed, tensors_of, zero123

import asset3d
from asset3d import toybox
from asset3d.prior.zero123 import Zero123
from asset3d.scene.camera import orbit_of
from asset3d.train._pool import PoolConfig, ViewPool
from asset3d.train.zero123 import Zero123TrainConfig, Zero123Trainer
from asset3d.train.zero123 import Zero123TrainConfig


def test_the_autoencoder_learns(autoencoder):
    curve = json.loads((autoencoder / "card.json").read_text())["curve"]
    assert [point["step"] for point in curve] == [20, 40]
    assert json.loads((autoencoder / "card.json").read_text())["licence"] == "CC0-1.0"
    assert curve[1]["validation psnr"] > curve[0]["validation psnr"] + 0.3


def test_a_training_that_was_stopped_ends_in_the_same_bytes(autoencoder, cache, tmp_path):
    again = stopped_and_resumed("train/autoencoder", tmp_path / "run", 23, autoencoder_options(cache))
    assert again == tensors_of(autoencoder) and len(again) > 8


def test_the_base_is_trained_and_loads_as_a_prior(autoencoder, cache, tmp_path):
    folder = tmp_path / "run"
    asset3d.Run("train/zero123", folder, **zero123(cache, autoencoder)).result
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    losses = [event["metrics"]["noise"] for event in events if event["kind"] == "step"]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    prior = Zero123.load(folder / "result" / "model")
    assert prior.image_size == 32 and prior.unet.config.in_channels == 2 * prior.vae.config.latent_channels
    assert tensors_of(folder / "result" / "model") == stopped_and_resumed(
        "train/zero123", tmp_path / "other", 17, zero123(cache, autoencoder))


def momentum_of_queries(folder) -> list[float]:
    """The largest moments that Adam keeps for the queries of cross-attention, layer by layer."""
    path = max(folder.rglob("checkpoints/**/*.safetensors"))
    return [value.abs().max().item() for name, value in load_file(path).items()
            if name.startswith("adam/exp_avg/") and name.endswith("attn2.to_q.weight")]


@pytest.mark.parametrize("more, learns", [
    ({"given_views": [1, 1]}, False), ({"given_views": [2, 3]}, True), ({"tokens": "split"}, True)])
def test_cross_attention_learns_from_several_tokens_only(autoencoder, cache, tmp_path, more, learns):
    more = {f"train.train.{name}": value for name, value in more.items()}
    asset3d.Run("train/zero123", tmp_path / "run", **zero123(cache, autoencoder, **more, steps=4)).result
    momenta = momentum_of_queries(tmp_path / "run")
    assert len(momenta) >= 3 and [momentum > 0 for momentum in momenta] == [learns] * len(momenta)


@pytest.mark.parametrize("tokens, n_parts", [("joined", 1), ("split", 2)])
def test_a_model_of_several_views_goes_on_from_the_base(base, cache, tmp_path, tokens, n_parts):
    options = settings(cache, initial=str(base), tokens=tokens, steps=8, **{
        "train.train.sampling_steps": 2, "train.train.given_views": [1, 3], "train.validate_every": 4})
    asset3d.Run("train/multiview", tmp_path / "run", **options).result
    model = tmp_path / "run" / "result" / "model"
    made, old = Zero123.load(model), Zero123.load(base)
    assert len(made.projections()) == n_parts
    moved = (made.unet.conv_out.weight - old.unet.conv_out.weight).abs().max()
    assert 0 < moved < 0.01  # eight steps of 3e-4 from there
    assert tensors_of(model) == stopped_and_resumed("train/multiview", tmp_path / "other", 5, options)


def test_what_cannot_be_trained_is_refused():
    for fields, why in (({}, "needs `autoencoder`, or `initial`"),
                        ({"given_views": (1, 12)}, "one less than data.views"),
                        ({"given_views": (3, 2)}, "given_views must be from 1")):
        initial = {"initial": "."} if fields else {}
        with pytest.raises(ValueError, match=why):
            Zero123TrainConfig.model_validate({**initial, **fields}, context={"check_files": False})


def test_pools_hold_what_the_toybox_shows(cache):
    pool = ViewPool(PoolConfig(objects=12, views=4, size=32, cache=str(cache))).prepare(print, lambda: None)
    sample = toybox.Samples("train", "zero123", 4, 32)[5]
    alpha = sample.views.color[..., 3:]
    white = sample.views.color[..., :3] * alpha + 1 - alpha
    got = pool.images(torch.full((4,), 5), torch.arange(4))
    torch.testing.assert_close(got, white, atol=1.1 / 255, rtol=0)  # stored in bytes
    torch.testing.assert_close(pool.poses(torch.full((4,), 5), torch.arange(4)), orbit_of(sample.camera))
    assert pool.captions[5] == sample.caption


def test_orbits_of_cameras():
    camera = asset3d.orbit([30.0, -170.0], [-20.0, 60.0], [1.5, 2.0], 49.1, 32)
    torch.testing.assert_close(orbit_of(camera), torch.tensor([[30.0, -20.0, 1.5], [-170.0, 60.0, 2.0]]), atol=1e-3,
                               rtol=0)


def test_times_are_drawn_from_the_noisiest_fifth_as_often_as_asked(autoencoder):
    for share, expected in ((0.0, 0.2), (0.5, 0.6), (1.0, 1.0)):
        trainer = Zero123Trainer(Zero123TrainConfig(autoencoder=str(autoencoder), noisy=share))
        trainer.build(torch.Generator().manual_seed(0))
        times = trainer._times(4000, torch.Generator().manual_seed(1))
        assert 0 <= times.min() and times.max() == 999
        assert abs(float((times >= 800).float().mean()) - expected) < 0.03
