"""What priors take of memory: the same without data as with; a budget is kept, and changes no result."""
import json

import pytest
import tiny_models
import torch
from torch.profiler import ProfilerActivity, profile

from asset3d import run
from asset3d.errors import InputError
from asset3d.prior import _memory
from asset3d.prior._memory import Cost, Memory, choose, memory_of, peak_of
from asset3d.prior.base import shared
from asset3d.prior.zero123 import Zero123, Zero123Config

MB = 1_000_000


def test_what_is_alive_at_once_is_counted():
    def call():
        x = torch.zeros(1000, 250)
        y = x + 1
        del x
        z = y * 2
        w = z.view(10, -1)  # no memory of its own
        del z, y
        return w.exp()

    assert peak_of(call) == 2 * MB
    weight = torch.zeros(500, 500)
    assert peak_of(lambda: (weight.t() @ weight).relu_()) == MB


@pytest.fixture
def folder(tmp_path):
    tiny_models.zero123().save(tmp_path)
    memory_of.cache_clear()
    return tmp_path


def test_networks_without_data_take_what_real_ones_do(folder):
    prior, memory = Zero123.load(folder), memory_of(folder, False)
    weights = lambda *modules: sum(p.numel() * 4 for module in modules for p in module.parameters())
    assert memory.networks == weights(prior.unet, prior.vae) and memory.encoders == weights(prior.image_encoder)
    draw = lambda: _memory._draw(prior.unet, 8, 5, torch.float32)
    assert memory.draw.of(8) == pytest.approx(peak_of(draw), rel=0.02)
    encode = lambda: _memory._encode(prior.vae, 8, prior.image_size, torch.float32)
    assert memory.encode.of(8) == pytest.approx(peak_of(encode), rel=0.02)
    assert memory_of(folder, True).networks == memory.networks / 2


def test_the_allocator_is_asked_for_what_is_counted(folder):
    """Within a fifth: convolutions take workspaces, which differ between machines."""
    prior, memory = Zero123.load(folder), memory_of(folder, False)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        _memory._draw(prior.unet, 64, 5, torch.float32)
    events = sorted((e.start_ns(), e.nbytes()) for e in seen.profiler.kineto_results.events() if e.name() == "[memory]")
    now, peak = 0, 0
    for _, size in events:
        now += size
        peak = max(peak, now)
    assert memory.draw.of(64) == pytest.approx(peak, rel=0.2)


def conditioned(prior, count: int):
    image = torch.rand(count, 1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    given = torch.tensor([[[10.0, 20.0, 1.8]]]).expand(count, 1, 3)
    return image, prior.condition(image, given, torch.tensor([[100.0, -15.0, 2.0]]).expand(count, 3))


def test_a_budget_changes_no_result(folder):
    free, memory = shared(Zero123Config(model=folder), "cpu"), memory_of(folder, False)
    budget = (memory.weights() + memory.work(3, True, 3)) / 1e9
    bound = shared(Zero123Config(model=folder, memory_budget=budget), "cpu")
    assert free.together is None and bound.together in (1, 2, 3)
    sample = lambda prior: prior.sample(conditioned(prior, 4)[1], torch.Generator().manual_seed(0), steps=3)
    torch.testing.assert_close(sample(bound), sample(free), atol=1e-5, rtol=0)
    found = []
    for prior in (free, bound):
        images = conditioned(prior, 4)[0][:, 0].requires_grad_()
        prior.encode(images).square().sum().backward()
        found.append(images.grad)
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


def test_a_budget_is_kept(folder):
    """Of what is alive besides the weights, while twelve images go through the encoder and back."""
    prior, memory = Zero123.load(folder), memory_of(folder, False)
    images = torch.rand(12, 32, 32, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def call():
        prior.encode(images).square().sum().backward()
        images.grad = None

    free = peak_of(call)
    prior.together = 2
    bound = peak_of(call)
    assert memory.encode.of(12) == pytest.approx(free, rel=0.2)
    assert bound < memory.encode.of(2) + 8 * images.numel() * 4 < 0.6 * free


def test_what_is_chosen():
    memory = Memory(networks=100, encoders=50, draw=Cost(10, 10), encode=Cost(20, 20), decode=Cost(5, 5))
    assert memory.work(4, True) == 80 and memory.work(4, False) == 80 and memory.work(4, True, 2) == 40
    assert choose(memory, 10_000, True) == (None, False)
    assert choose(memory, 250, True) == (5, False)
    assert choose(memory, 160, True) == (3, True)
    with pytest.raises(InputError, match="memory_budget: 1.6e-07 GB are not enough; this model needs 1.7e-07 GB"):
        choose(memory, 160, False)


def test_a_dry_run_tells_it(folder, tmp_path, capsys):
    tiny = {"type": "zero123", "model": str(folder)}
    recipe = {"name": "r", "stage": [{"type": "prepare_image", "image": "image.png"},
                                     {"type": "synthesize_views", "prior": tiny, "batch": 4}]}
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "image.png")
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    memory = memory_of(folder, False)
    assert run.main(["--dry-run", str(tmp_path / "r.yaml")]) == 0
    peak = (memory.weights() + memory.work(4, False)) / 1e9
    assert f"zero123 {folder.name}: at most {peak:.2f} GB" in capsys.readouterr().out
    tiny["memory_budget"] = 1e-6
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert run.main(["--dry-run", str(tmp_path / "r.yaml")]) == 2
    assert "memory_budget: 1e-06 GB are not enough" in capsys.readouterr().err
