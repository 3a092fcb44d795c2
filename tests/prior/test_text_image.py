"""Priors of words and of depth, against published pipelines put together by hand from modules of diffusers."""
import json
from types import SimpleNamespace

import published_pipelines
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from tiny_models import seeded
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from asset3d.errors import InputError
from asset3d.prior._memory import memory_of
from asset3d.prior.base import ADDED, Condition
from asset3d.prior.depth_image import DepthImage, depth_channel, disparity_of
from asset3d.prior.text_image import TextImage
from asset3d.scene.camera import orbit
from asset3d.train.autoencoder import tokenizer_of

WIDTH, SIZE = 24, 8
PROMPTS = ["a red chair", "a blue table"]
WORDS = ["a", "red", "blue", "chair", "table", "ugly"]


def autoencoder():
    return seeded(lambda: AutoencoderKL(
        latent_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)).eval()


def unet(n_in: int = 4, width: int = WIDTH, **more):
    return seeded(lambda: UNet2DConditionModel(**{**dict(
        sample_size=SIZE, in_channels=n_in, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=4), **more})).eval()


def text_encoder(cls=CLIPTextModel, seed: int = 0, **more):
    return seeded(lambda: cls(CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, vocab_size=20,
        max_position_embeddings=32, bos_token_id=2, eos_token_id=3, pad_token_id=0, **more)), seed).eval()


def write(folder, scheduler, **parts):
    """A published folder, part by part."""
    for name, part in {**parts, "scheduler": scheduler}.items():
        part.save_pretrained(folder / name)
    return SimpleNamespace(**parts)


@pytest.fixture
def tokenizer():
    return tokenizer_of(WORDS)


def ids(tokenizer, prompts):
    return tokenizer(prompts, padding="max_length", max_length=32, truncation=True, return_tensors="pt").input_ids


def noise(steps: int, channels: int = 4, seed: int = 3):
    """What `sample` draws for two samples."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(steps + 1, channels, SIZE, SIZE, generator=generator) for _ in PROMPTS], 1)


def sample(prior, condition, **more):
    return prior.sample(condition, torch.Generator().manual_seed(3), steps=5, guidance_scale=7.5, **more)


def counts_all(folder, prior):
    """That what a dry run tells of memory holds every network."""
    memory = memory_of(folder, False)
    assert memory.networks == 4 * sum(p.numel() for m in (prior.unet, prior.vae) for p in m.parameters())
    assert memory.encoders == 4 * sum(p.numel() for p in prior.words.parameters())
    assert memory.draw.of(4) > memory.draw.of(2) > 0 and memory.work(2, True) >= memory.draw.of(4)


SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("negative", ["", "ugly"])
def test_stable_diffusion(tmp_path, tokenizer, prediction, negative):
    parts = write(tmp_path, DDIMScheduler(**SCHEDULE, prediction_type=prediction), unet=unet(), vae=autoencoder(),
                  text_encoder=text_encoder(), tokenizer=tokenizer)
    prior = TextImage.load(tmp_path)
    got = sample(prior, prior.condition(PROMPTS, negative))
    want = published_pipelines.text_image(parts, ids(tokenizer, PROMPTS), ids(tokenizer, [negative] * 2), noise(5), 7.5,
                                          prediction_type=prediction)
    assert got.shape == (2, 16, 16, 3) and got.std() > 0.01
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    assert not torch.allclose(got[0], got[1], atol=1e-3)


def test_sdxl(tmp_path, tokenizer):
    """Two encoders, the pooled text and sizes beside the time; saved for another sampler, as published."""
    network = unet(width=2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=4,
                   projection_class_embeddings_input_dim=6 * 4 + 16)
    parts = write(tmp_path, EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading"), unet=network,
                  vae=autoencoder(), text_encoder=text_encoder(), tokenizer=tokenizer,
                  text_encoder_2=text_encoder(CLIPTextModelWithProjection, 1, projection_dim=16), tokenizer_2=tokenizer)
    prior = TextImage.load(tmp_path)
    got = sample(prior, prior.condition(PROMPTS))
    want = published_pipelines.sdxl(parts, ids(tokenizer, PROMPTS), noise(5), 7.5, 16)
    assert got.std() > 0.01
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    counts_all(tmp_path, prior)
    with_negative = prior.condition(PROMPTS, "ugly")
    assert with_negative.absent().tokens.any() and with_negative.absent().added["text_embeds"].any()
    (tmp_path / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": False}))
    assert TextImage.load(tmp_path).condition(PROMPTS).absent().tokens.any()


def test_deepfloyd(tmp_path, tokenizer):
    """Pixels instead of latents, T5 instead of CLIP, keys of words beside those of pixels, a learned variance."""
    network = unet(3, width=32, out_channels=6, encoder_hid_dim=20, encoder_hid_dim_type="text_proj",
                   cross_attention_norm="group_norm", attention_head_dim=8, resnet_time_scale_shift="scale_shift",
                   down_block_types=("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
                   up_block_types=("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
                   mid_block_type="UNetMidBlock2DSimpleCrossAttn", addition_embed_type="text",
                   addition_embed_type_num_heads=2)
    words = seeded(lambda: T5EncoderModel(T5Config(vocab_size=20, d_model=20, d_kv=8, d_ff=32, num_layers=2,
                                                   num_heads=2, feed_forward_proj="gated-gelu"))).eval()
    with torch.no_grad():  # as they are made, keys of words have no weights
        for p in network.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True,
                              dynamic_thresholding_ratio=0.95, sample_max_value=1.5)
    parts = write(tmp_path, scheduler, unet=network, text_encoder=words, tokenizer=tokenizer)
    prior = TextImage.load(tmp_path)
    assert prior.image_size == SIZE
    got = sample(prior, prior.condition(["A red CHAIR ", PROMPTS[1]], "ugly"))
    tokens = lambda texts: tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")
    want = published_pipelines.deepfloyd(parts, tokens(PROMPTS), tokens(["ugly"] * 2), noise(5, 3), 7.5,
                                         beta_start=1e-4, beta_end=0.02, beta_schedule="squaredcos_cap_v2",
                                         thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.5,
                                         steps_offset=0)
    assert got.std() > 0.01
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    counts_all(tmp_path, prior)
    image = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.decode(prior.encode(image)), image, atol=1e-6, rtol=0)


@pytest.fixture
def depth_folder(tmp_path, tokenizer):
    parts = write(tmp_path, DDIMScheduler(**SCHEDULE), unet=unet(5), vae=autoencoder(), text_encoder=text_encoder(),
                  tokenizer=tokenizer)
    return tmp_path, parts


def depth_map():
    """A ball in front of nothing, and a tilted plane."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    ball = torch.where(x**2 + y**2 < 0.5, 2 - (0.5 - x**2 - y**2).clamp_min(0).sqrt(), 0)
    return torch.stack([ball, 2 + 0.5 * y])[..., None]


def test_depth_image(depth_folder, tokenizer):
    folder, parts = depth_folder
    prior = DepthImage.load(folder)
    depth = depth_map()
    got = sample(prior, prior.condition(PROMPTS, depth=depth))
    disparity = torch.where(depth > 0, 1 / depth.clamp_min(0.1), 0).permute(0, 3, 1, 2)
    channel = torch.nn.functional.interpolate(disparity, (SIZE, SIZE), mode="bicubic", align_corners=False)
    low, high = (channel.flatten(1).quantile(q, 1).view(-1, 1, 1, 1) for q in (0.0, 1.0))
    want = published_pipelines.text_image(parts, ids(tokenizer, PROMPTS), ids(tokenizer, [""] * 2), noise(5), 7.5,
                                          depth=2 * (channel - low) / (high - low) - 1)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    scaled = sample(prior, prior.condition(PROMPTS, depth=1.3 * depth))
    torch.testing.assert_close(scaled, got, atol=1e-4, rtol=0)
    other = sample(prior, prior.condition(PROMPTS, depth=depth.flip(0)))
    assert (other - got).abs().amax() > 1e-3


def test_depth_is_near_bright_and_far_dark():
    channel = depth_channel(disparity_of(depth_map()), 16)
    torch.testing.assert_close(channel.amin((1, 2, 3)), -torch.ones(2))
    torch.testing.assert_close(channel.amax((1, 2, 3)), torch.ones(2))
    assert channel[0, 0, 8, 8] > 0.9 and channel[0, 0, 0, 0] < -0.9  # the ball's middle, and nothing
    assert (channel[1, 0].diff(dim=0) < 0).all()
    assert depth_channel(disparity_of(torch.full((1, 8, 8, 1), 2.0)), 8).isfinite().all()


def test_a_network_with_depth_also_draws_without(depth_folder):
    """One folder serves as both; no depth is a channel of zeros."""
    folder, _ = depth_folder
    words, shapes = TextImage.load(folder), DepthImage.load(folder)
    condition = words.condition(PROMPTS)
    assert condition.latents.shape == (2, 1, SIZE, SIZE) and not condition.latents.any()
    assert torch.equal(sample(words, condition), sample(shapes, shapes.condition(PROMPTS)))


def test_a_network_of_other_channels_is_refused(tmp_path, tokenizer):
    write(tmp_path, DDIMScheduler(**SCHEDULE), unet=unet(8), vae=autoencoder(), text_encoder=text_encoder(),
          tokenizer=tokenizer)
    with pytest.raises(InputError, match="takes 8 channels; text_image has 4"):
        TextImage.load(tmp_path)
    with pytest.raises(InputError, match="takes 8 channels; depth_image needs 4"):
        DepthImage.load(tmp_path)


def test_missing_and_unexpected_weights_are_refused(depth_folder):
    """transformers fills in what is missing with random numbers."""
    from safetensors.torch import load_file, save_file

    folder, _ = depth_folder
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    key = next(key for key in weights if "final_layer_norm.bias" in key)
    save_file({k: v for k, v in weights.items() if k != key}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights of text_encoder/ do not fit: missing .*final_layer_norm.bias"):
        TextImage.load(folder)
    save_file({**weights, "more": torch.ones(1)}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="unexpected more"):
        TextImage.load(folder)


def test_saved_and_loaded_it_draws_the_same(depth_folder, tmp_path):
    prior = TextImage.load(depth_folder[0])
    prior.zero_negative = True
    prior.save(tmp_path / "again")
    again = TextImage.load(tmp_path / "again")
    assert again.zero_negative and not again.condition(PROMPTS).absent().tokens.any()
    assert torch.equal(sample(prior, prior.condition(PROMPTS)), sample(again, again.condition(PROMPTS)))


def test_a_guide_says_the_same_of_every_view(depth_folder):
    prior = TextImage.load(depth_folder[0])
    cameras = orbit([0.0, 90.0, 180.0], [10.0] * 3, 2.0, 40.0, 16)
    told, one = prior.guide([], PROMPTS[0])(cameras), prior.condition(PROMPTS[:1])
    assert len(told) == len(told.absent()) == 3
    for i in range(3):
        assert torch.equal(told.tokens[i], one.tokens[0])
        assert torch.equal(told.absent().tokens[i], one.absent().tokens[0])


def test_guidance_with_a_negative_prompt_is_one_call(depth_folder, monkeypatch):
    prior = TextImage.load(depth_folder[0])
    condition, x, times = prior.condition(PROMPTS, "ugly"), noise(0)[0], torch.tensor([300, 700])
    calls = []
    monkeypatch.setattr(prior.unet, "forward", lambda *a, f=prior.unet.forward, **k: calls.append(1) or f(*a, **k))
    guided = prior.guided_noise(x, times, condition, 5.0)
    assert len(calls) == 1
    absent, present = prior.noise_in(x, times, condition.absent()), prior.noise_in(x, times, condition)
    torch.testing.assert_close(guided, absent + 5 * (present - absent), atol=1e-5, rtol=0)


def test_conditions_side_by_side():
    generator = torch.Generator().manual_seed(0)
    draw = lambda: Condition(*(torch.rand(shape, generator=generator) for shape in ((1, 2, 3), (1, 4, 2, 2))),
                             added={name: torch.rand(1, 6, generator=generator) for name in ADDED})
    one, two = draw(), draw()
    both = one.beside(two)
    assert len(both) == 2 and torch.equal(both.added["time_ids"][1:], two.added["time_ids"])
    assert both.unconditional is None and not both.absent().tokens.any() and not both.absent().latents.any()
    from dataclasses import replace

    told = replace(one, unconditional=two).beside(replace(two, unconditional=one))
    assert torch.equal(told.absent().tokens, two.beside(one).tokens)
    assert torch.equal(told.repeat(2).tokens, torch.cat([one.tokens] * 2 + [two.tokens] * 2))
