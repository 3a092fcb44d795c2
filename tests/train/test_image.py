"""The image model: words and depth are what it is given, each is left out at times, and it loads as both priors."""
import json

import pytest
import torch
import trainings

import asset3d
from asset3d.prior.depth_image import DepthImage
from asset3d.prior.text_image import TextImage
from asset3d.train.base import Draw
from asset3d.train.image import ImageTrainConfig, ImageTrainer


def options(cache, autoencoder, **more) -> dict:
    return trainings.zero123(cache, autoencoder, **{"train.validate_every": 15, **more})


@pytest.fixture
def make(cache, autoencoder):
    def make(**settings) -> tuple[ImageTrainer, list]:
        config = ImageTrainConfig.model_validate({
            "data": {"objects": 12, "views": 4, "size": 32, "cache": str(cache)}, "autoencoder": autoencoder,
            "channels": (16, 32), **settings})
        trainer = ImageTrainer(config)
        trainer.build(torch.Generator().manual_seed(0))
        trainer.prepare(lambda text: None, lambda: None)
        seen = []
        trainer.denoising_loss = lambda latents, condition, draw: seen.append(condition) or torch.zeros(())
        trainer.loss(Draw(0, 10, 64, torch.Generator().manual_seed(0), torch.device("cpu")))
        return trainer, seen[0]
    return make


def test_words_and_depth_are_what_it_is_given(make):
    trainer, seen = make(drop_tokens=0, drop_depth=0)
    captions = trainer.pool.views.captions
    every = trainer.prior.words[0](captions)[0]
    objects = torch.randint(12, (64,), generator=torch.Generator().manual_seed(0))  # the first that is drawn
    torch.testing.assert_close(seen.tokens, every[objects], atol=1e-5, rtol=0)
    assert seen.latents.shape == (64, 1, 8, 8)
    flat = seen.latents.flatten(1)
    assert torch.allclose(flat.amax(1), torch.ones(64)) and torch.allclose(flat.amin(1), -torch.ones(64))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_each_is_left_out_as_often_as_asked(make, share):
    trainer, seen = make(drop_tokens=share, drop_depth=share)
    without_words = (seen.tokens == trainer.no_words).flatten(1).all(1)
    without_depth = (seen.latents == 0).flatten(1).all(1)
    for without in (without_words, without_depth):
        assert abs(without.float().mean() - share) < 0.2
    if share == 0.4:
        assert (without_words != without_depth).any()


def test_it_learns_goes_on_exactly_and_loads_as_both_priors(autoencoder, cache, tmp_path):
    folder = tmp_path / "run"
    asset3d.Run("train/image", folder, **options(cache, autoencoder)).result
    events = (folder / "events.jsonl").read_text().splitlines()
    losses = [event["metrics"]["noise"] for event in map(json.loads, events) if event["kind"] == "step"]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    model = folder / "result" / "model"
    assert trainings.tensors_of(model) == trainings.stopped_and_resumed(
        "train/image", tmp_path / "other", 17, options(cache, autoencoder))
    words, depth = TextImage.load(model), DepthImage.load(model)
    assert words.image_size == depth.image_size == 32 and words.takes_depth
    drawn = words.sample(words.condition(["a red car"]), torch.Generator().manual_seed(0), steps=2)
    assert drawn.shape == (1, 32, 32, 3) and drawn.isfinite().all()


def test_the_unconditional_half_is_the_empty_caption_with_the_same_depth(make):
    trainer, _ = make()
    held = trainer.held(Draw(0, 1, 1, torch.Generator(), torch.device("cpu"))).condition
    want = trainer.prior.condition([""]).tokens
    torch.testing.assert_close(held.absent().tokens[:1], want, atol=1e-5, rtol=0)
    assert torch.equal(held.absent().latents, held.latents) and held.first(3).absent().tokens.shape[0] == 3
