"""Where models are found, and which licences are let pass."""
import json
import logging

import pytest

from asset3d import models
from asset3d.errors import InputError
from asset3d.models import catalog, policy


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Nothing embedded but `toy`, nothing fetched."""
    monkeypatch.setattr(models, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.setenv("ASSET3D_MODELS", str(tmp_path / "fetched"))
    monkeypatch.delenv(policy.VARIABLE, raising=False)
    monkeypatch.setattr(policy, "_said", set())
    model(tmp_path / "embedded" / "toy", prior="zero123", licence="CC0-1.0")


def model(folder, **card):
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_by_name_and_by_path(tmp_path, monkeypatch):
    assert models.folder_of("toy") == tmp_path / "embedded" / "toy"
    fetched = model(tmp_path / "fetched" / "zero123-xl", licence="MIT")
    assert models.folder_of("zero123-xl") == fetched and models.fetched() == ["zero123-xl"]
    own = model(tmp_path / "own" / "toy")
    assert models.folder_of(own) == models.folder_of(str(own)) == own
    monkeypatch.chdir(tmp_path / "own")
    assert models.folder_of("./toy").samefile(own)
    assert models.folder_of("toy") == tmp_path / "embedded" / "toy"


@pytest.mark.parametrize("name, said", [
    ("zero123-xl", r"models fetch zero123-xl` downloads cvlab/zero123-weights \(15.5 GB, .*toy comes with asset3d"),
    ("zero123-lx", "no model of this name, and no folder; did you mean 'zero123-xl'"),
    ("somewhere/else", "no model of this name, and no folder"),
    ("a.ckpt", "published checkpoints are made one by `python -m asset3d.models convert`"),
    ("a.txt", "this is a file"),
])
def test_what_is_missing_is_said_without_a_network(name, said, tmp_path, monkeypatch):
    import socket

    def refuse(*given, **named):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    for file in ("a.ckpt", "a.txt"):
        (tmp_path / file).write_text("")
    with pytest.raises(InputError, match=said):
        models.folder_of(name)


@pytest.mark.parametrize("use", ["non-commercial", "research-only"])
def test_the_policy(use, tmp_path, monkeypatch, caplog):
    model(tmp_path / "fetched" / "it", name="it", use=use, licence="Some Licence", alternative="toy")
    with caplog.at_level(logging.WARNING):
        models.folder_of("it")
        models.folder_of("it")
    assert [r.getMessage() for r in caplog.records] == [f"model it is {use} (Some Licence); use toy instead"]
    monkeypatch.setenv(policy.VARIABLE, "research")
    models.folder_of("it")
    monkeypatch.setenv(policy.VARIABLE, "commercial")
    with pytest.raises(InputError, match=f"model it is {use} .*ASSET3D_MODEL_POLICY=commercial refuses; use toy"):
        models.folder_of("it")
    assert models.folder_of("toy")
    with pytest.raises(InputError, match="says nothing of its use"):
        models.folder_of(model(tmp_path / "mute"))
    monkeypatch.setenv(policy.VARIABLE, "comercial")
    with pytest.raises(InputError, match="did you mean 'commercial'"):
        models.folder_of("toy")


def test_a_model_that_is_refused_has_an_alternative_that_is_not():
    for name, known in catalog.PUBLISHED.items():
        assert known.use in policy.ALLOWED["any"]
        if known.use != policy.COMMERCIAL:
            assert catalog.PUBLISHED[known.alternative].use == policy.COMMERCIAL, name
            assert catalog.PUBLISHED[known.alternative].prior == known.prior


def test_a_recipe_names_a_model(tmp_path, monkeypatch):
    from asset3d.registry import Config

    class Some(Config):
        model: models.Model

    monkeypatch.chdir(tmp_path)
    parse = lambda text, **context: Some.model_validate({"model": text}, context=context).model
    own = model(tmp_path / "recipes" / "own")
    assert parse("toy") == "toy"
    assert parse("own", folder=tmp_path / "recipes") == parse(str(own)) == own
    assert Some(model=own).model_dump_json() == json.dumps({"model": str(own)}, separators=(",", ":"))
    for text, said in [("zero123-xl", "not on this machine"), ("nothing", "no folder"), ("http://a/b", "must be"),
                       ("", "must be"), ("zero123-lx", "did you mean 'zero123-xl'")]:
        with pytest.raises(ValueError, match=said):
            parse(text)
    assert parse("zero123-xl", check_files=False) == "zero123-xl"


def test_a_model_on_the_command_line_is_a_name_or_a_path_from_here(tmp_path, monkeypatch):
    from asset3d.recipe import load

    own = model(tmp_path / "here" / "own")
    monkeypatch.chdir(tmp_path / "here")
    initial = lambda text: load("train/multiview", {"initial": text}).stage[0].train.initial
    assert initial("own") == initial("./own") == initial(str(own)) == own
    assert initial("toy") == "toy"
