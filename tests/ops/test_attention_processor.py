"""AttentionProcessor: a small random diffusers UNet with shared keys, against SDPA with concatenated ones."""
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from asset3d.ops.attention import AttentionProcessor


def make_unet(**change):
    return make(UNet2DConditionModel, **dict(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=12, attention_head_dim=2)
        | change)


def make(model, **settings):
    """Diffusers draws weights from the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model(**settings).eval()


@pytest.fixture
def unet():
    return make_unet()


def batch(n, seed=0, size=8):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 4, size, size, generator=generator), torch.tensor(500),
            torch.randn(n, 3, 12, generator=generator))


def run(unet, inputs):
    with torch.no_grad():
        return unet(*inputs).sample


def test_large_heads_keep_their_processor():
    inputs, plain = batch(2), make_unet(attention_head_dim=(1, 2), block_out_channels=(512, 32))
    want = run(plain, inputs)
    processor = AttentionProcessor(plain)
    kept = [name for name, one in plain.attn_processors.items() if one is not processor]
    assert kept and all("down_blocks.0" in name or "up_blocks.1" in name for name in kept)
    torch.testing.assert_close(run(plain, inputs), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="heads of more than 256 channels, cannot share keys"):
        AttentionProcessor(plain, layers=[0])


class Concatenating(AttnProcessor2_0):
    """What users write today: the stock processor with keys and values joined by `join(name, k)`."""

    def __init__(self, name, join):
        super().__init__()
        self.name, self.join = name, join

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        if encoder_hidden_states is not None:
            return super().__call__(attn, hidden_states, encoder_hidden_states)
        split = lambda t: t.view(*t.shape[:2], attn.heads, -1).transpose(1, 2)  # noqa: E731
        q, k, v = split(attn.to_q(hidden_states)), attn.to_k(hidden_states), attn.to_v(hidden_states)
        k, v = split(self.join(self.name + " k", k)), split(self.join(self.name + " v", v))
        out = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[0](out)


def run_concatenating(unet, join, *inputs, chosen=lambda name: True):
    """The last of the results for some inputs."""
    unet.set_attn_processor({name: Concatenating(name, join) if chosen(name) else AttnProcessor2_0()
                             for name in unet.attn_processors})
    results = [run(unet, each) for each in inputs]
    unet.set_attn_processor(AttnProcessor2_0())
    return results[-1]


def test_alone_it_is_the_stock_processor(unet):
    inputs = batch(3)
    want = run(unet, inputs)
    processor = AttentionProcessor(unet)
    assert all(p is processor for p in unet.attn_processors.values())
    torch.testing.assert_close(run(unet, inputs), want, rtol=1e-5, atol=1e-5)
    processor.remove()
    assert all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())
    assert torch.equal(run(unet, inputs), want)


def test_bfloat16(unet):
    """Against the stock processor in float32: no further from it than the stock one in bfloat16 is."""
    inputs = batch(2)
    want = run(unet, inputs)
    half = [t.bfloat16() if t.is_floating_point() else t for t in inputs]
    unet.to(torch.bfloat16)
    stock = (run(unet, half) - want).norm()
    AttentionProcessor(unet)
    assert (run(unet, half) - want).norm() < 1.1 * stock


def test_norms_and_pictures():
    """The attention of a VAE: group norm, residual, (B, channels, height, width)."""
    vae = make(AutoencoderKL, block_out_channels=(8,), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",),
               up_block_types=("UpDecoderBlock2D",), latent_channels=4)
    image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = vae(image).sample
        AttentionProcessor(vae)
        torch.testing.assert_close(vae(image).sample, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("replace", [True, False])
def test_injection_for_both_guidance_halves(unet, views, replace):
    """A reference of two halves serves 2 * views images: the first half of them by its first."""
    references, images, kept = batch(2, seed=1), batch(2 * views, seed=2), {}

    def keep(name, t):
        kept[name] = t
        return t

    def join(name, t):
        other = kept[name].repeat_interleave(views, 0)
        return other if replace else torch.cat([t, other], 1)

    run_concatenating(unet, keep, references)
    want = run_concatenating(unet, join, images)
    plain = run(unet, images)

    processor = AttentionProcessor(unet)
    with processor.capture():
        torch.testing.assert_close(run(unet, references), run_stock(references), rtol=1e-5, atol=1e-5)
    for _ in range(2):  # what is captured serves until the next capture
        with processor.inject(replace=replace):
            got = run(unet, images)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert (want - plain).norm() > 0.01 * plain.norm()
    torch.testing.assert_close(run(unet, images), plain, rtol=1e-5, atol=1e-5)


def run_stock(inputs):
    return run(make_unet(), inputs)


def test_several_references_of_other_sizes(unet):
    """Each call under capture is one more source; here of 64 and of 16 tokens."""
    kept, images = {}, batch(2, seed=3)
    references = batch(2, seed=1), batch(1, seed=2, size=4)
    run_concatenating(unet, lambda name, t: kept.setdefault(name, []).append(t) or t, *references)
    want = run_concatenating(
        unet, lambda name, t: torch.cat([t, *(r.expand(2, -1, -1) for r in kept[name])], 1), images)
    processor = AttentionProcessor(unet)
    with processor.capture():
        for reference in references:
            run(unet, reference)
    with processor.inject(replace=False):
        torch.testing.assert_close(run(unet, images), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("replace", [True, False])
def test_the_first_image_serves_its_half(unet, replace):
    images = batch(6)

    def join(name, t):
        first = t.unflatten(0, (2, 3))[:, :1].expand(-1, 3, -1, -1).flatten(0, 1)
        return first if replace else torch.cat([t, first], 1)

    want = run_concatenating(unet, join, images)
    with AttentionProcessor(unet).share_first(replace=replace):
        torch.testing.assert_close(run(unet, images), want, rtol=1e-5, atol=1e-5)


def test_all_images_of_a_half_see_each_other(unet):
    images = batch(8)
    want = run_concatenating(
        unet, lambda name, t: t.unflatten(0, (2, 4)).flatten(1, 2).repeat_interleave(4, 0), images)
    with AttentionProcessor(unet).share_all():
        torch.testing.assert_close(run(unet, images), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers, names", [
    ([2, 3], ["mid_block.attentions.0.", "up_blocks.0.attentions.0."]), ([], []),
    (range(4, 6), ["up_blocks.0.attentions.1.", "up_blocks.1.attentions.0."]),
    (lambda name: name.startswith("mid"), ["mid_block."]),
])
def test_chosen_layers(unet, layers, names):
    """Numbers follow the order of execution: two layers down, one in the middle, four up."""
    images = batch(4)
    want = run_concatenating(unet, lambda name, t: t.unflatten(0, (2, 2)).flatten(1, 2).repeat_interleave(2, 0), images,
                             chosen=lambda name: name.startswith(tuple(names)))
    with AttentionProcessor(unet, layers).share_all():
        torch.testing.assert_close(run(unet, images), want, rtol=1e-5, atol=1e-5)


def test_gradients(unet):
    images = batch(4)
    unet.requires_grad_(False)

    def gradient():
        latents = images[0].clone().requires_grad_()
        unet(latents, *images[1:]).sample.square().sum().backward()
        return latents.grad

    join = lambda name, t: t.unflatten(0, (2, 2)).flatten(1, 2).repeat_interleave(2, 0)  # noqa: E731
    unet.set_attn_processor({name: Concatenating(name, join) for name in unet.attn_processors})
    want = gradient()
    unet.set_attn_processor(AttnProcessor2_0())
    with AttentionProcessor(unet).share_all():
        torch.testing.assert_close(gradient(), want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


def test_shared_keys_are_never_concatenated(unet):
    """Every attention layer is one operator; what is concatenated are the skip connections of the UNet."""
    images, names = batch(4), []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(str(func))
            return func(*args, **kwargs or {})

    with AttentionProcessor(unet).share_all(), Recorder():
        run(unet, images)
    assert names.count("asset3d.attention.default") == 2 * 7 and not any("scaled_dot_product" in n for n in names)
    joined = names.count("aten.cat.default")
    names.clear()
    unet.set_attn_processor(AttnProcessor2_0())
    with Recorder():
        run(unet, images)
    assert joined == names.count("aten.cat.default") > 0


def test_a_mask_keeps_its_meaning(unet):
    latents, step, text = batch(2)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    with torch.no_grad():
        want = unet(latents, step, text, encoder_attention_mask=mask).sample
        processor = AttentionProcessor(unet)
        got = unet(latents, step, text, encoder_attention_mask=mask).sample
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        with processor.share_all(), pytest.raises(ValueError, match="`attention_mask` cannot be used in a layer that"):
            unet(latents, step, text, attention_mask=torch.ones(2, 64))


def test_refusals(unet):
    with pytest.raises(ValueError, match=r"`layers` must be in 0..6, got \[5, 7\]"):
        AttentionProcessor(unet, [5, 7])
    processor = AttentionProcessor(unet)
    with pytest.raises(RuntimeError, match="nothing is captured; run the reference"), processor.inject():
        run(unet, batch(2))
    with processor.capture():
        run(unet, batch(2))
        with pytest.raises(RuntimeError, match="one mode at a time"), processor.inject():
            pass
    with pytest.raises(ValueError, match=r"batch of `sources\[0\]` must divide that of `q`"), processor.inject():
        run(unet, batch(3))
    with pytest.raises(ValueError, match="`halves` must divide the batch of the model, got 2 and 3"), \
            processor.share_all():
        run(unet, batch(3))
    run(unet, batch(3))  # an error leaves no mode behind


def test_layers_with_processors_of_their_own(unet):
    """They keep them, and cannot be chosen."""
    own = AttnProcessor2_0()
    own.__class__ = type("Adapter", (AttnProcessor2_0,), {})
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    unet.get_submodule(name).set_processor(own)
    processor = AttentionProcessor(unet)
    assert unet.get_submodule(name).processor is own and sum(
        p is processor for p in unet.attn_processors.values()) == 13
    processor.remove()
    with pytest.raises(ValueError, match=rf"cannot share keys: \['{name}'\]"):
        AttentionProcessor(unet, [2])
