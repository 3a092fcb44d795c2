"""Trained models become embedded ones: half the bytes, shared parts once, and loaded they draw the same."""
import json
import os

import pytest
import tiny_models
import torch

from asset3d import models
from asset3d.errors import InputError
from asset3d.models.__main__ import main
from asset3d.models.embed import embed, size_of
from asset3d.prior.base import pretrained
from asset3d.prior.zero123 import Zero123

CARD = {"recipe": "train/zero123", "seed": 3, "steps": 10, "licence": "CC0-1.0", "curve": [{"step": 10, "psnr": 20.5}]}
RECIPE = """name: train-zero123
stage:
- {type: train, from: {}, steps: 10, train: {type: zero123, autoencoder: /somewhere/else/model, data: {cache: /a/b}}}
"""


def run_of(folder, prior, *parts):
    """A finished training of these parts of a prior; of all where none is named."""
    prior.save(folder / "result" / "model")
    for path in (folder / "result" / "model").iterdir():
        if parts and path.name not in parts:
            path.rename(folder / path.name)
    (folder / "result" / "model" / "card.json").write_text(json.dumps(CARD))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place of embedded models."""
    monkeypatch.setattr(models, "EMBEDDED", tmp_path / "embedded")
    return tmp_path / "embedded"


def draw(prior):
    image = torch.rand(1, 1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    given, target = torch.tensor([[[10.0, 20.0, 1.8]]]), torch.tensor([[100.0, -15.0, 2.0]])
    return prior.sample(prior.condition(image, given, target), torch.Generator().manual_seed(0), steps=2)


def test_shared_parts_are_stored_once_and_found(home, tmp_path):
    prior = tiny_models.zero123()
    embed(run_of(tmp_path / "a", prior, "vae", "image_encoder"), "toy-autoencoder", home)
    folder = embed(run_of(tmp_path / "b", prior), "toy-zero123", home)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "cc_projection", "feature_extractor",
                                                              "scheduler", "unet"]
    assert models.card_of(folder)["uses"] == "toy-autoencoder"
    assert "uses" not in models.card_of(home / "toy-autoencoder")
    loaded = Zero123.load("toy-zero123")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    halved = prior.half().float()
    for (name, got), want in zip(loaded.state_dict().items(), halved.state_dict().values(), strict=True):
        assert torch.equal(got, want), name
    assert torch.equal(draw(loaded), draw(halved))


def test_other_weights_are_not_shared(home, tmp_path):
    prior, other = tiny_models.zero123(), tiny_models.zero123()
    with torch.no_grad():
        next(other.vae.parameters())[0] += 1e-2
    embed(run_of(tmp_path / "a", other, "vae"), "toy-autoencoder", home)
    folder = embed(run_of(tmp_path / "b", prior), "toy-zero123", home)
    assert (folder / "vae").is_dir() and "uses" not in models.card_of(folder)


def test_what_others_are_built_on_is_not_changed(home, tmp_path):
    prior, other = tiny_models.zero123(), tiny_models.zero123()
    with torch.no_grad():
        next(other.vae.parameters())[0] += 1e-2
    run = run_of(tmp_path / "a", prior, "vae", "image_encoder")
    embed(run, "toy-autoencoder", home)
    embed(run_of(tmp_path / "b", prior), "toy-zero123", home)
    embed(run, "toy-autoencoder", home)  # the same again
    with pytest.raises(InputError, match="toy-zero123 is built on vae of toy-autoencoder as it is"):
        embed(run_of(tmp_path / "c", other, "vae", "image_encoder"), "toy-autoencoder", home)
    assert sorted(path.name for path in home.iterdir()) == ["toy-autoencoder", "toy-zero123"]
    Zero123.load("toy-zero123")


def test_a_tokenizer_is_one_that_older_libraries_know(home, tmp_path):
    from transformers import AutoTokenizer

    from asset3d.train.autoencoder import tokenizer_of

    tokenizer = tokenizer_of(["red", "chair"])
    tokenizer.save_pretrained(tmp_path / "run" / "tokenizer")
    (tmp_path / "run" / "card.json").write_text(json.dumps(CARD))
    folder = embed(tmp_path / "run", "toy", home) / "tokenizer"
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    ids = AutoTokenizer.from_pretrained(folder)("a red chair")["input_ids"]
    assert ids == tokenizer("a red chair")["input_ids"] and len(ids) == 5


def test_the_card_keeps_the_training_and_no_place_of_this_machine(home, tmp_path):
    folder = embed(run_of(tmp_path / "run", tiny_models.zero123()), "toy-zero123", home)
    card = models.card_of(folder)
    assert {**CARD, "name": "toy-zero123", "prior": "zero123", "use": "commercial"}.items() <= card.items()
    assert card["training"]["train"] == {"type": "zero123", "autoencoder": "model", "data": {}}
    again = tmp_path / "again"
    Zero123.load(folder).save(again)  # now configs say where they were loaded from
    (again / "card.json").write_text(json.dumps(CARD))
    second = embed(again, "toy-again", tmp_path / "elsewhere")
    said = "".join(path.read_text() for path in second.rglob("*.json"))
    assert str(tmp_path) not in said
    for path in folder.rglob("*.safetensors"):
        assert path.read_bytes() == (second / path.relative_to(folder)).read_bytes()


def test_half_the_bytes(home, tmp_path):
    run = run_of(tmp_path / "run", tiny_models.zero123())
    weights = lambda folder: sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert weights(embed(run, "toy", home)) < 0.7 * weights(run)  # of small networks, names are a part too
    assert size_of(home) == sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("bad", [1e6, float("nan")])
def test_weights_that_float16_cannot_hold_are_refused(home, tmp_path, bad):
    prior = tiny_models.zero123()
    with torch.no_grad():
        prior.unet.conv_in.bias[0] = bad
    run = run_of(tmp_path / "run", prior)
    with pytest.raises(InputError, match="`conv_in.bias` does not fit into float16 or is not finite"):
        embed(run, "toy", home)
    assert not home.exists() or not list(home.iterdir())


def test_refused(home, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no result/model/card.json"):
        embed(tmp_path / "empty", "toy", home)
    with pytest.raises(InputError, match="is no name of a model"):
        embed(tmp_path / "empty", "../toy", home)


def test_what_a_manifest_says_changes_with_what_is_shared(home, tmp_path):
    prior = tiny_models.zero123()
    embed(run_of(tmp_path / "a", prior, "vae"), "toy-autoencoder", home)
    folder = embed(run_of(tmp_path / "b", prior), "toy-zero123", home)
    before = models.describe(folder)
    assert before["name"] == "toy-zero123" and before["licence"] == "CC0-1.0" and before["uses"] == "toy-autoencoder"
    assert models.describe(folder) == before
    file = home / "toy-autoencoder" / "vae" / "config.json"
    file.write_text(file.read_text() + " ")
    assert models.describe(folder)["sha256"] != before["sha256"]


def test_the_command(home, tmp_path, capsys):
    run = run_of(tmp_path / "run", tiny_models.zero123())
    assert main(["embed", os.fspath(run), "toy-zero123"]) == 0
    assert "MB" in capsys.readouterr().out
    assert main(["list"]) == 0
    table = capsys.readouterr().out
    assert [line for line in table.splitlines() if line.startswith("toy-zero123") and "CC0-1.0" in line]
    assert main(["embed", os.fspath(run)]) == 2 and main(["embd"]) == 2


def test_a_part_of_a_damaged_card(home, tmp_path):
    folder = embed(run_of(tmp_path / "run", tiny_models.zero123()), "toy", home)
    (folder / "card.json").write_text("{")
    with pytest.raises(InputError, match="card.json: cannot be read"):
        models.folder_of("toy")
    (folder / "card.json").write_text(json.dumps({"uses": "../outside"}))
    (folder / "vae").rename(tmp_path / "vae")
    (tmp_path / "outside").mkdir()
    (tmp_path / "vae").rename(tmp_path / "outside" / "vae")
    from diffusers import AutoencoderKL

    for call in (lambda: pretrained(folder, "vae", AutoencoderKL), lambda: models.describe(folder)):
        with pytest.raises(InputError, match="it is built on ../outside, which must lie beside it"):
            call()
    (folder / "card.json").write_text("{}")
    with pytest.raises(InputError, match="the folder vae/ is missing"):
        pretrained(folder, "vae", AutoencoderKL)
