"""What a run says of the models it used."""
import json

import pytest

from asset3d import _manifest, models
from asset3d.recipe import Recipe
from asset3d.registry import Config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An embedded model `toy` that uses `other`."""
    monkeypatch.setattr(models, "EMBEDDED", tmp_path)
    toy = {"name": "toy", "licence": "CC0-1.0", "uses": "other", "trained on": "toys"}
    for name, card in {"toy": toy, "other": {}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps(card))
    return tmp_path / "toy"


def test_a_config_names_models_however_deep(folder):
    class One(Config):
        model: models.Model

    class All(Config):
        prior: One
        many: tuple[One, ...]
        model: models.Model
        nothing: One | None = None
        perhaps: models.Model | None = None
        other: models.Model | None = None

    given = All(prior={"model": "toy"}, many=[{"model": "toy"}, {"model": str(folder)}], model="toy", other="toy")
    assert dict(_manifest._models(given)) == {"prior.model": "toy", "many.0.model": "toy", "many.1.model": folder,
                                              "model": "toy", "other": "toy"}


def test_inputs_of_a_run_hold_its_models(folder, tmp_path):
    sds = lambda model: {"type": "sds", "prior": {"type": "text_image", "model": model}}
    optimize = {"type": "optimize", "name": "fit", "representation": {"type": "hash_grid_field"},
                "renderer": {"type": "volume"}}

    def recipe(*names) -> Recipe:
        return Recipe.model_validate({"name": "r", "stage": [{**optimize, "loss": [sds(name) for name in names]}]})

    inputs = _manifest.input_hashes(recipe("toy", str(folder)), tmp_path / "run", lambda: None)
    field = "fit.loss.{}.prior.model"
    assert inputs[field.format(0)] == inputs[field.format(1)] == models.describe(folder)
    assert inputs[field.format(0)]["licence"] == "CC0-1.0" and len(inputs[field.format(0)]["sha256"]) == 64
    (tmp_path / "other" / "card.json").write_text("{} ")
    changed = _manifest.input_hashes(recipe("toy"), tmp_path / "run", lambda: None)
    assert changed[field.format(0)]["sha256"] != inputs[field.format(0)]["sha256"]
    assert _manifest.told_of_models({**inputs, "a.file": {"name": "x", "sha256": "0"}}) == [
        "model toy, licence CC0-1.0, trained on toys: it knows nothing else"]
    said = json.dumps(_manifest._portable(recipe("toy", str(folder)).model_dump(by_alias=True)))
    assert str(tmp_path) not in said and '"toy"' in said
