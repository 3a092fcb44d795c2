"""The prior Zero-1-to-3, against the published pipeline put together by hand from modules of diffusers."""
import math

import pytest
import tiny_models
import torch
from diffusers import DDIMScheduler

from asset3d.errors import InputError
from asset3d.prior.base import Condition
from asset3d.prior.zero123 import Zero123, relative_pose


@pytest.fixture
def prior():
    return tiny_models.zero123()


def views(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, n, 32, 32, 3, generator=torch.Generator().manual_seed(seed))


GIVEN = torch.tensor([[[10.0, 20.0, 1.8], [55.0, 20.0, 1.8], [-35.0, 20.0, 1.8], [10.0, 50.0, 1.8]]])
TARGET = torch.tensor([[100.0, -15.0, 2.0]])


def test_pose_of_the_published_code():
    """Polar angle from the up axis; the target minus what is given."""
    pose = relative_pose(GIVEN[0, :1], TARGET)[0]
    want = [math.radians(35.0), math.sin(math.radians(90.0)), math.cos(math.radians(90.0)), 0.2]
    torch.testing.assert_close(pose, torch.tensor(want), atol=1e-6, rtol=0)
    stable = relative_pose(GIVEN[0, :1], TARGET, "stable_zero123")[0]
    assert stable[3] == pytest.approx(math.radians(70.0))


@torch.no_grad()
def published(prior: Zero123, image: torch.Tensor, pose: torch.Tensor, noise: list[torch.Tensor], scale: float):
    """DDIM with eta 1 as the published pipeline has it, without a line of the prior."""
    pixels = image.permute(0, 3, 1, 2) * 2 - 1
    embedding = prior.image_encoder(pixel_values=pixels).image_embeds
    linear = prior.cc_projection.projection
    token = (torch.cat([embedding, pose], -1) @ linear.weight.T + linear.bias)[:, None]
    latent = prior.vae.encode(pixels).latent_dist.mode()
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(len(noise) - 1)
    x = noise[0]
    for k, time in enumerate(scheduler.timesteps):
        given = torch.cat([torch.cat([x, torch.zeros_like(latent)], 1), torch.cat([x, latent], 1)])
        tokens = torch.cat([torch.zeros_like(token), token])
        absent, present = prior.unet(given, time, encoder_hidden_states=tokens).sample.chunk(2)
        x = scheduler.step(absent + scale * (present - absent), time, x, eta=1.0,
                           variance_noise=noise[k + 1]).prev_sample
    return (prior.vae.decode(x / prior.vae.config.scaling_factor).sample.permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)


def test_samples_equal_the_published_pipeline(prior):
    image = views(1)
    got = prior.sample(prior.condition(image, GIVEN[:, :1], TARGET), torch.Generator().manual_seed(3), steps=7)
    noise = torch.randn(1, 8, 4, 8, 8, generator=torch.Generator().manual_seed(3)).unbind(1)
    want = published(prior, image[:, 0], relative_pose(GIVEN[0, :1], TARGET), list(noise), 3.0)
    assert got.std() > 0.01
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_a_sample_does_not_depend_on_its_batch(prior):
    one, two = (prior.condition(views(1, seed), GIVEN[:, :1], TARGET) for seed in (0, 1))
    generator = lambda: torch.Generator().manual_seed(5)
    both = prior.sample(one.beside(two), generator(), steps=3)
    torch.testing.assert_close(both[:1], prior.sample(one, generator(), steps=3), atol=1e-5, rtol=0)


def test_saved_and_loaded_it_draws_the_same(prior, tmp_path):
    prior.save(tmp_path)
    again = Zero123.load(tmp_path)
    draw = lambda p: p.sample(p.condition(views(1), GIVEN[:, :1], TARGET), torch.Generator().manual_seed(0), steps=2)
    assert torch.equal(draw(prior), draw(again))
    assert not any(p.requires_grad for p in again.parameters())
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


def test_the_card_says_which_pose_it_was_trained_with(prior, tmp_path):
    prior.save(tmp_path)
    assert Zero123.load(tmp_path).compat == "zero123"
    (tmp_path / "card.json").write_text('{"compat": "stable_zero123"}')
    assert Zero123.load(tmp_path).compat == "stable_zero123"
    assert Zero123.load(tmp_path, compat="zero123").compat == "zero123"


@pytest.mark.parametrize("missing", ["unet", "vae", "image_encoder", "scheduler", "cc_projection", "feature_extractor"])
def test_a_missing_part_is_named(prior, tmp_path, missing):
    prior.save(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"the folder {missing}/ is missing; a model is a folder in diffusers format"):
        Zero123.load(tmp_path)


def cross_attention_gradients(prior: Zero123, n_given: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gradients of to_q and to_k, and of to_v, of the layers that look at tokens."""
    condition = prior.condition(views(n_given), GIVEN[:, :n_given], TARGET)
    prior.unet.requires_grad_(True)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    prior.noise_in(latents, torch.tensor([500]), condition).square().sum().backward()
    layers = [module for name, module in prior.unet.named_modules() if name.endswith("attn2")]
    assert len(layers) >= 3
    return [p.weight.grad for m in layers for p in (m.to_q, m.to_k)], [m.to_v.weight.grad for m in layers]


def test_one_token_leaves_cross_attention_nothing_to_learn(prior):
    """The analysis of Yu et al. 2024: softmax over one key is 1."""
    queries_and_keys, values = cross_attention_gradients(prior, 1)
    assert all((grad == 0).all() for grad in queries_and_keys) and all(grad.abs().max() > 0 for grad in values)


@pytest.mark.parametrize("n_given", [2, 3, 4])
def test_several_tokens_give_it_a_gradient(prior, n_given):
    queries_and_keys, _ = cross_attention_gradients(prior, n_given)
    assert all(grad.abs().max() > 0 for grad in queries_and_keys)


def test_guidance_takes_one_call(prior, monkeypatch):
    calls = []
    monkeypatch.setattr(prior.unet, "forward", lambda *a, f=prior.unet.forward, **k: calls.append(1) or f(*a, **k))
    condition = prior.condition(views(1), GIVEN[:, :1], TARGET)
    x, time = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    guided = prior.guided_noise(x, time, condition, 3.0)
    assert len(calls) == 1
    absent, present = prior.noise_in(x, time, condition.absent()), prior.noise_in(x, time, condition)
    torch.testing.assert_close(guided, absent + 3 * (present - absent), atol=1e-5, rtol=0)
    assert torch.equal(prior.guided_noise(x, time, condition, 1), present)


def test_an_absent_condition_is_zero(prior):
    absent = prior.condition(views(2), GIVEN[:, :2], TARGET).absent()
    assert isinstance(absent, Condition) and not absent.tokens.any() and not absent.latents.any()
    assert absent.tokens.shape == (1, 2, tiny_models.WIDTH)


@torch.no_grad()
def test_the_coarse_target_is_the_second_token_and_has_a_pose_of_four_zeros(prior):
    """The order of Cascade-Zero123: source, coarse target, then the self-prompted views."""
    images, coarse = views(4), views(1, seed=9)[:, 0]
    condition = prior.condition(images, GIVEN, TARGET, coarse)
    without = prior.condition(images, GIVEN, TARGET)
    linear = prior.cc_projection.projection
    want = prior.embed(coarse) @ linear.weight[:, : tiny_models.WIDTH].T + linear.bias
    torch.testing.assert_close(condition.tokens[:, 1], want, atol=1e-5, rtol=0)
    torch.testing.assert_close(condition.tokens[:, [0, 2, 3, 4]], without.tokens, atol=1e-5, rtol=0)
    assert torch.equal(condition.latents, without.latents) and condition.tokens.shape[1] == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_network_says_the_same_again_and_again():
    from asset3d.prior._graph import Graphed

    weight = torch.randn(8, 8, device="cuda")
    graphed = Graphed(lambda x: (x @ weight).relu())
    for count in (3, 5, 3):
        x = torch.randn(count, 8, device="cuda")
        first = graphed(x)
        graphed(torch.zeros_like(x))
        torch.testing.assert_close(first, (x @ weight).relu())


# -- split tokens ---------------------------------------------------------------------------------------------------


@pytest.fixture
def split(prior):
    prior.split(torch.Generator().manual_seed(0))
    return prior.requires_grad_(False)


def noise_seen(prior: Zero123, n_given: int) -> torch.Tensor:
    condition = prior.condition(views(n_given), GIVEN[:, :n_given], TARGET)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior.noise_in(latents, torch.tensor([500]), condition)


@torch.no_grad()
@pytest.mark.parametrize("n_given", [1, 3])
def test_a_model_whose_tokens_are_split_behaves_as_before(prior, n_given):
    before = noise_seen(prior, n_given)
    prior.split(torch.Generator().manual_seed(0))
    assert prior.condition(views(n_given), GIVEN[:, :n_given], TARGET).tokens.shape[1] == 2 * n_given
    torch.testing.assert_close(noise_seen(prior, n_given), before, atol=2e-6, rtol=0)
    weights = {name: value.clone() for name, value in prior.pose_projection.state_dict().items()}
    prior.split(torch.Generator().manual_seed(1))
    assert all(torch.equal(weights[name], value) for name, value in prior.pose_projection.state_dict().items())


def test_the_new_weights_of_split_tokens_learn_from_the_first_step_on(split):
    """As much as the first token's own: no softmax keeps their gradient small."""
    split.cc_projection.requires_grad_(True)
    split.pose_projection.requires_grad_(True)
    noise_seen(split, 1).square().sum().backward()
    new, known = split.pose_projection.out.weight.grad.norm(), split.cc_projection.projection.bias.grad.norm()
    assert new > 0.1 * known > 0


def test_split_tokens_give_queries_and_keys_a_gradient(split):
    with torch.no_grad():
        split.pose_projection.out.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    queries_and_keys, _ = cross_attention_gradients(split, 1)
    assert all(grad.abs().max() > 0 for grad in queries_and_keys)


@torch.no_grad()
def test_split_tokens_are_saved_and_loaded(split, tmp_path):
    split.pose_projection.out.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    split.save(tmp_path)
    again = Zero123.load(tmp_path)
    new, old = again.state_dict(), split.state_dict()
    assert new.keys() == old.keys() and all(torch.equal(new[name], old[name]) for name in old)
    assert (tmp_path / "pose_projection").is_dir()
