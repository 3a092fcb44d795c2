"""Trainers: they learn, go on to the same bits after a stop, save what priors load, and see nothing that is held out."""
import json

import pytest
import torch
from safetensors.torch import load_file

from trainings import autoencoder_options, stopped_and_resumed, tensors_of, zero123

import asset3d
from asset3d import toybox
from asset3d.prior.zero123 import Zero123
from asset3d.scene.camera import orbit_of
from asset3d.train._pool import PoolConfig, ViewPool


def test_the_autoencoder_learns(autoencoder):
    curve = json.loads((autoencoder / "card.json").read_text())["curve"]
    assert [point["step"] for point in curve] == [20, 40]
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
    assert prior.image_size == 32 and prior.unet.config.in_channels == 8
    assert tensors_of(folder / "result" / "model") == stopped_and_resumed(
        "train/zero123", tmp_path / "other", 17, zero123(cache, autoencoder))


def momentum_of_queries(folder) -> list[float]:
    """The largest moments that Adam keeps for the queries of cross-attention, layer by layer."""
    path = max(folder.rglob("checkpoints/**/*.safetensors"))
    return [value.abs().max().item() for name, value in load_file(path).items()
            if name.startswith("adam/exp_avg/") and name.endswith("attn2.to_q.weight")]


@pytest.mark.parametrize("given, learns", [([1, 1], False), ([2, 3], True)])
def test_cross_attention_learns_from_several_views_only(autoencoder, cache, tmp_path, given, learns):
    options = zero123(cache, autoencoder, **{"steps": 4, "train.train.given_views": given})
    asset3d.Run("train/zero123", tmp_path / "run", **options).result
    momenta = momentum_of_queries(tmp_path / "run")
    assert len(momenta) >= 3 and [momentum > 0 for momentum in momenta] == [learns] * len(momenta)


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
