"""Score distillation against priors whose score is known exactly."""
import pytest
import tiny_models
import torch
from asset3d.loss.sds import Sds, SdsConfig
from asset3d.prior.base import Condition, Prior
from asset3d.prior.zero123 import noise_schedule
from asset3d.scene.camera import orbit
from asset3d.scene.rendering import Novel, Rendering
from pydantic import ValidationError

MEANS, DEVIATIONS, SHARES = (-0.8, 0.3, 1.1), (0.2, 0.5, 0.3), (0.5, 0.2, 0.3)
"""Of a mixture of Gaussians, in every dimension of the latents by itself."""


class Mixture(Prior):
    """A prior whose images are latents, and whose noise follows from the density of the mixture."""

    def __init__(self):
        super().__init__(tiny_models.unet(), tiny_models.autoencoder(), noise_schedule())
        self.signal = self.signal.double()
        self.n_calls = 0

    @classmethod
    def load(cls, folder, device="cpu"):
        raise NotImplementedError

    def guide(self, views, prompt=""):
        return lambda camera: Condition(torch.zeros(len(camera), 1, 8))

    @property
    def image_size(self):
        return 4

    def encode(self, images):
        return images.permute(0, 3, 1, 2)

    def density(self, x, times):
        """Logarithm of the density of noisy latents; automatic differentiation of it is the score."""
        signal = self.signal[times].view(-1, 1, 1, 1, 1)
        mean = signal.sqrt() * torch.tensor(MEANS).double()
        deviation = (signal * torch.tensor(DEVIATIONS).double().square() + 1 - signal).sqrt()
        logs = torch.distributions.Normal(mean, deviation).log_prob(x[..., None])
        return (logs + torch.tensor(SHARES).double().log()).logsumexp(-1)

    def noise_in(self, latents, times, condition):
        self.n_calls += 1
        with torch.enable_grad():
            x = latents.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.density(x, times).sum(), x)
        return -(1 - self.signal[times]).sqrt().view(-1, 1, 1, 1) * score


def loss_of(prior: Prior, given=(), **settings) -> Sds:
    return Sds.with_prior(SdsConfig(prior={"type": "zero123", "model": "."}, **settings), prior, given)


def novel(count: int, seed: int) -> Novel:
    camera = orbit(torch.zeros(count), 0, 1.85, 49.1, 4)
    return Novel(camera, torch.ones(3).double(), torch.Generator().manual_seed(seed))


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 4, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def closed_form(x: torch.Tensor, noise: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
    """(1 - signal) * (noise of the mixture - noise), by responsibilities."""
    noisy = signal.sqrt() * x + (1 - signal).sqrt() * noise
    mean = signal.sqrt() * torch.tensor(MEANS).double()
    variance = signal * torch.tensor(DEVIATIONS).double().square() + 1 - signal
    away = noisy[..., None] - mean
    share = torch.tensor(SHARES).double() * variance.rsqrt() * torch.exp(-away.square() / (2 * variance))
    share = share / share.sum(-1, keepdim=True)
    return (1 - signal) * ((1 - signal).sqrt() * (share * away / variance).sum(-1) - noise)


@pytest.mark.parametrize("time", [0.02, 0.3, 0.98])
def test_the_gradient_is_the_closed_form_of_a_mixture(time):
    prior = Mixture()
    color = images(3).requires_grad_()
    target = novel(3, 7)
    loss = loss_of(prior, time=(time, time), guidance_scale=1.0)
    loss(Rendering(color, torch.ones(3, 4, 4, 1).double()), target, 0).backward()
    generator = torch.Generator().manual_seed(7)
    times = round(time * 999)
    torch.randint(times, times + 1, (3,), generator=generator)
    noise = torch.randn(3, 3, 4, 4, generator=generator).double()
    expected = closed_form(images(3).permute(0, 3, 1, 2), noise, prior.signal[times]).permute(0, 2, 3, 1) / 3
    torch.testing.assert_close(color.grad, expected, rtol=1e-10, atol=1e-12)


def test_over_many_draws_the_gradient_points_away_from_the_mean_of_one_gaussian(monkeypatch):
    for name, value in (("MEANS", (0.3,)), ("DEVIATIONS", (0.5,)), ("SHARES", (1.0,))):
        monkeypatch.setitem(globals(), name, value)
    prior, count, x = Mixture(), 4000, 0.9
    loss = loss_of(prior, time=(0.5, 0.5), guidance_scale=1.0)
    latents = torch.full((count, 3, 4, 4), x).double()
    gradient = loss.gradient(latents, novel(count, 3), 0)
    signal = prior.signal[round(0.5 * 999)]
    expected = (1 - signal) ** 1.5 * signal.sqrt() * (x - 0.3) / (signal * 0.25 + 1 - signal)
    error = gradient.std() / gradient.numel() ** 0.5
    assert abs(gradient.mean() - expected) < 5 * error and expected > 50 * error


def test_all_halves_of_the_guidance_go_through_the_network_in_one_call():
    prior = Mixture()
    rendering = Rendering(images(2), torch.ones(2, 4, 4, 1).double())
    loss_of(prior, guidance_scale=5.0)(rendering, novel(2, 0), 0)
    assert prior.n_calls == 1


def test_weights_of_the_prior_get_no_gradient_and_images_do():
    prior = tiny_models.zero123()
    size = prior.image_size
    loss = loss_of(prior, [tiny_models.given_view(size)])
    color = torch.rand(2, size, size, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = Novel(orbit(torch.tensor([30.0, 90.0]), 10, 1.85, 49.1, size), torch.ones(3), torch.Generator())
    loss(Rendering(color, torch.ones(2, size, size, 1)), target, 0).backward()
    assert all(p.grad is None for p in prior.parameters())
    assert torch.isfinite(color.grad).all() and color.grad.abs().max() > 0


def test_times_follow_their_schedules():
    loss = loss_of(Mixture(), time=({"from": 0.0, "to": 0.2, "until_step": 100}, {0: 0.9, 100: 0.4}))
    early = loss._times(1000, 0, torch.Generator().manual_seed(0))
    late = loss._times(1000, 200, torch.Generator().manual_seed(0))
    assert early.min() < 30 and 850 < early.max() <= 899
    assert 200 <= late.min() < 215 and 385 < late.max() <= 400


def test_times_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="least share"):
        SdsConfig(prior={"type": "zero123", "model": "."}, time=(0.5, {0: 0.9, 100: 0.4}))


def test_a_prior_of_words_is_told_the_best_caption_where_nobody_says():
    told = []

    class Words(Mixture):
        takes_words = True

        def guide(self, views, prompt=""):
            told.append(prompt)
            return super().guide(views, prompt)

    loss = loss_of(Words(), [tiny_models.given_view(64)])
    assert len(told[0].split()) >= 3 and told[0] in loss.remarks[0]
    assert loss_of(Words(), [tiny_models.given_view(64)], prompt="a mug").remarks == [] and told[1] == "a mug"
