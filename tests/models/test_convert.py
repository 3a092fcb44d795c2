"""Published checkpoints become folders: nothing missing, nothing unexpected, and they draw what is published."""
import json
import pickle
import zipfile
from types import SimpleNamespace

import ldm_layout
import published_pipelines
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from published_networks import WIDTH, autoencoder, networks, unet
from tiny_models import seeded
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from asset3d import models
from asset3d.errors import InputError
from asset3d.models import _layout
from asset3d.models.__main__ import main
from asset3d.models.convert import Told, convert, read
from asset3d.prior.zero123 import Zero123, relative_pose


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The networks, their checkpoint and its weights."""
    made = networks()
    weights = ldm_layout.zero123(made)
    ldm_layout.save_lightning(weights, tmp_path / "105000.ckpt", monkeypatch)
    return made, tmp_path / "105000.ckpt", weights


def test_zero123_of_lightning_with_averages(published, tmp_path):
    made, checkpoint, _ = published
    report = convert(checkpoint, tmp_path / "folder")
    assert report.missing == report.unexpected == [] and report.ema
    assert report.parts == {"unet": len(made.unet.state_dict()), "vae": len(made.vae.state_dict()),
                            "image_encoder": len(made.image_encoder.state_dict()), "cc_projection": 2}
    prior = Zero123.load(tmp_path / "folder")
    image = torch.rand(1, 1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    given, target = torch.tensor([[[10.0, 20.0, 1.8]]]), torch.tensor([[100.0, -15.0, 2.0]])
    got = prior.sample(prior.condition(image, given, target), torch.Generator().manual_seed(3), steps=4)
    noise = torch.randn(1, 5, 4, 32, 32, generator=torch.Generator().manual_seed(3)).unbind(1)
    want = published_pipelines.zero123(made, image[:, 0], relative_pose(given[0], target), noise, 3.0)
    assert got.std() > 0.01
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


def test_without_averages_the_trained_weights_are_taken(published, tmp_path):
    made, _, weights = published
    torch.save({key: value for key, value in weights.items() if not key.startswith("model_ema.")}, tmp_path / "a.ckpt")
    assert not convert(tmp_path / "a.ckpt", tmp_path / "folder").ema
    got = Zero123.load(tmp_path / "folder").unet.conv_in.bias
    torch.testing.assert_close(got, made.unet.conv_in.bias.detach() + 1)


def test_safetensors_give_the_same_folder(published, tmp_path):
    from safetensors.torch import save_file

    _, checkpoint, weights = published
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "105000.safetensors")
    convert(checkpoint, tmp_path / "one")
    convert(tmp_path / "105000.safetensors", tmp_path / "two")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 8
    for file in files:
        if file.name != "card.json":
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_the_card_has_the_licence_of_a_known_model(published, tmp_path):
    convert(published[1], tmp_path / "folder")
    card = models.card_of(tmp_path / "folder")
    assert card["licence"] == "CreativeML OpenRAIL-M" and card["use"] == "commercial" and card["prior"] == "zero123"
    assert card["name"] == "zero123-105000" and len(card["made of"]["sha256"]) == 64
    convert(published[1], tmp_path / "stable", name="stable-zero123")
    card = models.card_of(tmp_path / "stable")
    assert card["use"] == "non-commercial" and card["compat"] == "stable_zero123"


@pytest.mark.parametrize("change, said", [
    (lambda w: w.pop("model.diffusion_model.input_blocks.2.0.in_layers.0.weight"),
     "missing: unet: down_blocks.0.resnets.1.norm1.weight"),
    (lambda w: w.pop("model_ema.diffusion_modeltime_embed0weight"),
     "missing: model_ema.diffusion_modeltime_embed0weight"),
    (lambda w: w.pop("first_stage_model.encoder.mid.attn_1.k.bias"), "vae: encoder.mid_block.attentions.0.to_k.bias"),
    (lambda w: w.pop("cond_stage_model.model.visual.ln_post.bias"), "image_encoder: vision_model.post_layernorm.bias"),
    (lambda w: w.pop("cc_projection.bias"), "missing: cc_projection.bias"),
    (lambda w: w.update({"first_stage_model.encoder.more.weight": torch.ones(1)}),
     "unexpected: first_stage_model.encoder.more.weight"),
    (lambda w: w.update({"model.diffusion_model.more.weight": torch.ones(1)}),
     "unexpected: model.diffusion_model.more.weight"),
    (lambda w: w.update({"another.weight": torch.ones(1)}), "unexpected: another.weight"),
    (lambda w: w.update({"model_ema.diffusion_modelmore": torch.ones(1)}),
     "unexpected: model_ema.diffusion_modelmore"),
    (lambda w: w.update({"first_stage_model.quant_conv.bias": torch.ones(3)}),
     r"vae: quant_conv.bias \[3\], not \[8\]"),
])
def test_a_weight_too_few_or_too_many_is_named(published, tmp_path, change, said):
    weights = published[2]
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=said):
        convert(tmp_path / "a.ckpt", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def text_encoder(act: str, layers: int = 2):
    return seeded(lambda: CLIPTextModel(CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=1, vocab_size=20,
        hidden_act=act, max_position_embeddings=8, bos_token_id=2, eos_token_id=3, pad_token_id=0))).eval()


def stable_diffusion(second: bool, n_in: int = 4):
    """Networks and checkpoint of Stable Diffusion 1 or 2, small."""
    network = unet(n_in, True, (1, 1)) if second else unet(n_in)
    text, vae = text_encoder("gelu" if second else "quick_gelu"), autoencoder()
    weights = ldm_layout.schedule() | ldm_layout.below("model.diffusion_model.", ldm_layout.unet(network))
    weights |= ldm_layout.below("first_stage_model.", ldm_layout.autoencoder(vae))
    weights |= (ldm_layout.below("cond_stage_model.model.", ldm_layout.open_text(text, WIDTH)) if second else
                ldm_layout.below("cond_stage_model.transformer.", ldm_layout.hugging_text(text)))
    return SimpleNamespace(unet=network, vae=vae, text_encoder=text), weights


@pytest.mark.parametrize("second, n_in, prior", [(False, 4, "text_image"), (True, 4, "text_image"),
                                                 (True, 5, "depth_image")])
def test_stable_diffusion(second, n_in, prior, tmp_path):
    made, weights = stable_diffusion(second, n_in)
    torch.save({"state_dict": weights}, tmp_path / "a.ckpt")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text("{}")
    told = Told(heads=None, prediction="v_prediction") if second and n_in == 4 else None
    report = convert(tmp_path / "a.ckpt", tmp_path / "folder", tokenizer=tmp_path / "tokenizer", told=told)
    assert report.prior == prior and report.missing == report.unexpected == []
    for part, cls in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL), ("text_encoder", CLIPTextModel)):
        got = cls.from_pretrained(tmp_path / "folder" / part)
        for (key, value), want in zip(got.state_dict().items(), getattr(made, part).state_dict().values(), strict=True):
            assert torch.equal(value, want), key
    ids = torch.tensor([[2, 5, 9, 3, 0, 0, 0, 0]])
    given = torch.randn(1, n_in, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = made.text_encoder(ids).last_hidden_state
    loaded = CLIPTextModel.from_pretrained(tmp_path / "folder" / "text_encoder")
    torch.testing.assert_close(loaded(ids).last_hidden_state, tokens)
    network = UNet2DConditionModel.from_pretrained(tmp_path / "folder" / "unet")
    with torch.no_grad():
        torch.testing.assert_close(network(given, 500, encoder_hidden_states=tokens).sample,
                                   made.unet(given, 500, encoder_hidden_states=tokens).sample)
    scheduler = json.loads((tmp_path / "folder" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == ("v_prediction" if told else "epsilon")


def test_what_weights_do_not_show_is_asked_for(tmp_path):
    torch.save(stable_diffusion(True)[1], tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="prediction=v_prediction for the model of 768 pixels"):
        convert(tmp_path / "a.ckpt", tmp_path / "folder")
    torch.save(stable_diffusion(False)[1], tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="a checkpoint has no tokenizer"):
        convert(tmp_path / "a.ckpt", tmp_path / "folder")
    torch.save({"conditioner.embedders.0.a": torch.ones(1)}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="SDXL; use its folder"):
        convert(tmp_path / "a.ckpt", tmp_path / "folder")
    torch.save({"a": torch.ones(1)}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="neither Zero-1-to-3 nor Stable Diffusion"):
        convert(tmp_path / "a.ckpt", tmp_path / "folder")


def test_configs_of_full_size_are_those_published():
    """Networks without memory for their weights."""
    down = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    widths = [320, 640, 1280, 1280]
    with torch.device("meta"):
        first = UNet2DConditionModel(in_channels=8, cross_attention_dim=768, attention_head_dim=8)
        second = UNet2DConditionModel(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
                                      use_linear_projection=True)
        vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
        vision = CLIPVisionModelWithProjection(CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
            projection_dim=768))
        text = CLIPTextModel(CLIPTextConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23,
                                            num_attention_heads=16, vocab_size=49408))
        layouts = [ldm_layout.unet(first), ldm_layout.unet(second), ldm_layout.autoencoder(vae),
                   ldm_layout.vision(vision), ldm_layout.open_text(text, 1024)]
    got = _layout.unet_config(layouts[0], 8, 32)
    assert got["down_block_types"] == down and got["up_block_types"] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert got["block_out_channels"] == widths and got["layers_per_block"] == 2 and got["in_channels"] == 8
    assert got["cross_attention_dim"] == 768 and got["attention_head_dim"] == 8 and not got["use_linear_projection"]
    got = _layout.unet_config(layouts[1], None, 96)
    assert got["attention_head_dim"] == [5, 10, 20, 20] and got["use_linear_projection"]
    assert got["cross_attention_dim"] == 1024 and got["in_channels"] == got["out_channels"] == 4
    got = _layout.vae_config(layouts[2], 0.18215)
    assert got["block_out_channels"] == [128, 256, 512, 512] and got["layers_per_block"] == 2
    assert got["latent_channels"] == 4 and got["in_channels"] == got["out_channels"] == 3
    assert _layout.vision_config(layouts[3]) == {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "hidden_act": "quick_gelu", "patch_size": 14, "image_size": 224, "projection_dim": 768}
    assert _layout.text_config(layouts[4], _layout.layers_of(layouts[4], "resblocks") - 1) == {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
        "hidden_act": "gelu", "vocab_size": 49408, "max_position_embeddings": 77}


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        import os

        return os.system, ("touch trapped",)


def test_no_code_of_a_checkpoint_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "callbacks": Trap()}, "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile("c.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 100000)
    (tmp_path / "d.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")
    torch.save([torch.ones(1)], "e.ckpt")
    torch.save({"a": torch.ones(1)}, "f.ckpt")
    for name, said in [("a.ckpt", "cannot be read as a checkpoint"), ("b.ckpt", "no checkpoint of PyTorch 1.6"),
                       ("c.ckpt", "compressed"), ("d.safetensors", "cannot be read"), ("e.ckpt", "holds no tensors"),
                       ("g.ckpt", "no such file")]:
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)
    with pytest.raises(InputError, match="are refused"):
        read(tmp_path / "f.ckpt", max_bytes=100)
    assert list(read(tmp_path / "f.ckpt")) == ["a"] and not (tmp_path / "trapped").exists()


def test_the_command(published, tmp_path, capsys):
    assert main(["convert", str(published[1]), str(tmp_path / "folder")]) == 0
    assert "0 missing, 0 unexpected" in capsys.readouterr().out
    assert main(["convert", str(published[1]), str(tmp_path / "folder")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["convert", str(published[1]), str(tmp_path / "other"), "prediction=x"]) == 2
