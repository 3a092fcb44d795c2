"""Samples for training: the same bits always, splits that never mix, captions of known words."""
import pytest
import torch
from torch.utils.data import DataLoader

from asset3d.errors import InputError
from asset3d.scene import rigs
from asset3d.scene.camera import orbit
from asset3d.toybox import ALL_CATEGORIES, CATEGORIES, HELD_CATEGORIES, HELD_OUT, VOCABULARY, Samples, cameras
from asset3d.toybox import encode, make_object, stack, views
from asset3d.toybox.catalog import MAKERS
from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.samples import texture_size_for
from asset3d.toybox.words import MAX_WORDS, PADDING, having, words_of

MAPS = ("color", "depth", "normal")


def _caption(category: str, seed: int) -> str:
    return MAKERS[category](Draw(seed, ALL_CATEGORIES.index(category)), Model())


def test_categories():
    assert len(ALL_CATEGORIES) == 28 and len(CATEGORIES) == 24 and len(HELD_CATEGORIES) == 4
    assert set(CATEGORIES) | set(HELD_CATEGORIES) == set(ALL_CATEGORIES)
    samples = Samples(size=32, count=1)
    assert [samples.object(seed).category for seed in range(24, 30)] == list(CATEGORIES[:6])


def test_samples_hold_what_they_say():
    sample = Samples("train", count=12, size=32)[3]
    color, depth, normal = (getattr(sample.views, name) for name in MAPS)
    assert (color.shape, depth.shape, normal.shape) == ((12, 32, 32, 4), (12, 32, 32, 1), (12, 32, 32, 3))
    assert (sample.seed, sample.category) == (3, "rocket") and "rocket" in sample.caption
    hit = depth > 0
    assert 0.05 < float(hit.double().mean()) < 0.5 and 0 <= float(color.min()) and float(color.max()) <= 1
    assert float((color[..., 3:] - hit.float()).abs().max()) < 1
    torch.testing.assert_close(normal.norm(dim=-1, keepdim=True), hit.float(), atol=1e-5, rtol=0)
    distance = sample.camera.position.norm(dim=1)
    assert float(distance.min()) >= 1.5 and float(distance.max()) <= 2.2
    assert float((depth[hit] - 1.85).abs().max()) < 0.35 + 0.87


def test_a_sample_is_the_same_to_the_bit_whatever_the_batch_the_process_and_the_threads():
    samples = Samples(count=3, size=48)
    alone = samples[5]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = samples[5]
    finally:
        torch.set_num_threads(threads)
    chosen = torch.utils.data.Subset(samples, [4, 5, 6, 7])
    batches = [list(DataLoader(chosen, batch_size=size, num_workers=workers, collate_fn=stack))
               for size, workers in ((4, 0), (2, 2))]
    for name in MAPS:
        ours = getattr(alone.views, name)
        assert torch.equal(ours, getattr(single.views, name))
        assert torch.equal(ours, getattr(batches[0][0], name)[1])
        assert torch.equal(ours, getattr(batches[1][0], name)[1])
        toy = samples.object(5)
        assert torch.equal(ours[2:], getattr(views(toy, alone.camera[2]), name)), "views do not depend on each other"
    assert torch.equal(alone.camera.camera_to_world, batches[0][0].camera_to_world[1])
    assert batches[0][0].seeds == [4, 5, 6, 7] and batches[1][1].captions[0] == samples[6].caption


def test_cameras_belong_to_the_seed():
    first, again, other = cameras(7), cameras(7), cameras(7, draw=1)
    assert torch.equal(first.camera_to_world, again.camera_to_world)
    assert not torch.equal(first.camera_to_world, other.camera_to_world)
    assert not torch.equal(first.camera_to_world, cameras(8).camera_to_world)
    scoring = cameras(7, "views", 64, 32)
    height = scoring.position[:, 1] / 2.6
    torch.testing.assert_close(scoring.position.norm(dim=1), torch.full((64,), 2.6), atol=1e-5, rtol=0)
    assert float(height.min()) >= -0.5737 and float(height.max()) <= 0.9660 and scoring.height == 32
    torch.testing.assert_close(scoring.intrinsics, rigs.views(32)[0].intrinsics[:1].expand(64, 4))
    ahead = lambda generator, count, size: orbit(torch.zeros(count), 0.0, 2.0, 40.0, size)
    assert torch.equal(Samples(rig=ahead, count=1, size=32)[2].camera.position, torch.tensor([[0.0, 0.0, 2.0]]))


def test_views_of_a_seed_or_an_object_and_of_another_size():
    camera = orbit(0.0, 10.0, 2.6, 30.0, 64)
    by_seed, by_object = views(1, camera), views(make_object(1, texture_size=256), camera)
    small = views(1, camera, 32)
    assert torch.equal(by_seed.color, by_object.color) and small.color.shape == (1, 32, 32, 4)
    pooled = by_seed.color[..., 3].reshape(1, 32, 2, 32, 2).mean((2, 4))
    assert float((small.color[..., 3] - pooled).abs().mean()) < 0.02
    assert [texture_size_for(size) for size in (32, 64, 65, 256, 4096)] == [256, 256, 512, 1024, 4096]


def test_splits_never_mix():
    train, held = Samples("train", size=32, count=1), Samples("held", size=32, count=1)
    assert len(train) == HELD_OUT == 900_000 and held[0].seed == HELD_OUT and held[0].category in CATEGORIES
    new = Samples("held", size=32, count=1, categories=HELD_CATEGORIES)
    assert {new.object(HELD_OUT + k).category for k in range(4)} == set(HELD_CATEGORIES)
    assert Samples("held", categories=ALL_CATEGORIES).categories == ALL_CATEGORIES
    with pytest.raises(InputError, match="seed 900000 is not of split=train"):
        train.of_seed(HELD_OUT)
    with pytest.raises(InputError, match="seed 899999 is not of split=held"):
        held.of_seed(HELD_OUT - 1)
    with pytest.raises(InputError, match="teapot is held out"):
        Samples("train", categories=("mug", "teapot"))
    with pytest.raises(InputError, match="teapot is held out"):
        make_object(5, ("teapot",))
    with pytest.raises(InputError, match="must be train or held"):
        Samples("test")
    with pytest.raises(InputError, match="choose from zero123, views, hifi123"):
        cameras(0, "zero12")
    for index in (-1, len(held)):
        with pytest.raises(IndexError, match="index must be from 0 to 99999"):
            held[index]


@pytest.mark.parametrize("category", ALL_CATEGORIES)
def test_captions_are_made_of_the_vocabulary(category):
    captions = {_caption(category, seed) for seed in range(40)}
    assert len(captions) > 25, "palettes and patterns vary"
    for caption in captions:
        assert set(words_of(caption)) <= set(VOCABULARY), caption
        assert len(words_of(caption)) <= MAX_WORDS and category in words_of(caption)
        assert "  " not in caption and not caption.endswith(" ")


def test_words_as_numbers():
    assert len(set(VOCABULARY)) == len(VOCABULARY) < 200
    numbers = encode("A red mug, with white dots", 8)
    assert [VOCABULARY[n - 1] for n in numbers if n] == ["a", "red", "mug", ",", "with", "white", "dots"]
    assert numbers[7:] == [PADDING] and len(encode("a mug")) == MAX_WORDS
    assert having("", "a lid", "", "red dots") == "with a lid and red dots"
    assert having("a", "b", "c") == "with a, b and c" and having("a") == "with a"
    with pytest.raises(InputError, match="dragon, fierce is not in the vocabulary"):
        encode("a fierce dragon")
    with pytest.raises(InputError, match="at most 2 words, got 3"):
        encode("a red mug", 2)


def test_poses_shapes_and_colours_vary():
    """No two of 12 objects of a category look alike from the same side."""
    camera = orbit(30.0, 20.0, 2.2, 30.0, 32)
    for category in ("cat", "cactus", "turtle"):
        seen = torch.cat([views(make_object(HELD_OUT + seed, (category,), 256), camera).color for seed in range(12)])
        apart = torch.cdist(seen.flatten(1), seen.flatten(1)) / seen[0].numel()**0.5
        assert float((apart + torch.eye(12)).min()) > 0.05
