"""What an iteration of score distillation costs at production size, part by part.

    python benchmarks/sds_share.py [--device cpu] [--count 4] [--sizes 64 128 256] [--repeat 3]

The prior is Zero-1-to-3 at its published size (860 M weights in the network, 84 M in the autoencoder, images of
256 x 256) with random weights: what a layer costs does not depend on them. The field is the one of recipes/zero123.yaml
at the settings that its published counterpart has, after 100 steps on a picture of a ball, so that empty space is
skipped as it is in a run. Network: encoder forward and backward, and the guided call. Rest: rendering forward and
backward, the given view, regularisers, the optimizer. The last column is asked to be at most 15 %.
"""
import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import torch

from asset3d.loss.sds import Sds, SdsConfig
from asset3d.prior.zero123 import Projection, Zero123, noise_schedule
from asset3d.renderer.volume import VolumeConfig, VolumeRenderer
from asset3d.representation.hash_grid_field import HashGridField, HashGridFieldConfig
from asset3d.scene.camera import orbit
from asset3d.scene.views import Views
from asset3d.stage._random_views import RandomCameraConfig, render_images
from asset3d.stage._sampling import RaySampler

RAYS = 2048
"""Of the given view in each step, as in recipes/zero123.yaml."""


def full_size() -> Zero123:
    """Networks of the published sizes, weights as their classes draw them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = UNet2DConditionModel(sample_size=32, in_channels=8, out_channels=4, cross_attention_dim=768,
                                attention_head_dim=8)
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                        sample_size=256, down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
        projection_dim=768))
    return Zero123(unet, vae, noise_schedule(), encoder, Projection(768, 768)).requires_grad_(False).eval()


def ball_view(size: int = 128) -> Views:
    """A shaded ball of radius 0.35, seen from the front."""
    camera = orbit(0, 10, 1.85, 49.1, size)
    origins, directions = camera.rays()
    along = -(origins * directions).sum(-1, keepdim=True)
    nearest = origins + along * directions
    gap = 0.35**2 - nearest.square().sum(-1, keepdim=True)
    normal = (nearest - gap.clamp(min=0).sqrt() * directions) / 0.35
    return Views(camera, (normal / 2 + 0.5).clamp(0, 1), (gap > 0).float(), ("ball",))


class Iteration:
    """One step of distillation, taken apart."""

    def __init__(self, device: str, count: int):
        self.device, self.views = torch.device(device), ball_view().to(device)
        self.field = HashGridField(HashGridFieldConfig(n_levels=16, log2_hashmap_size=19), torch.Generator())
        self.field.to(self.device).initialise(self.views, torch.Generator())
        self.renderer = VolumeRenderer(VolumeConfig(step_size=1 / 256))
        self.optimizer = torch.optim.Adam(self.field.parameters(), 0.01, (0.9, 0.99))
        self.sampler = RaySampler(self.views)
        self.count = count
        self.steps = 0

    def settle(self, steps: int = 100) -> None:
        """Let the field become a ball, without a prior."""
        for _ in range(steps):
            self.rest()

    def rest(self) -> None:
        """The given view and its loss, and the optimizer, as in every iteration."""
        self.field.begin_step(self.steps, 1000, torch.Generator().manual_seed(self.steps))
        self.steps += 1
        generator = torch.Generator().manual_seed(self.steps)
        rays, target = self.sampler.draw(RAYS, torch.ones(3, device=self.device), generator)
        given = self.renderer.render_rays(self.field, rays, generator)
        loss = 500 * (given.over(target.background) - target.over()).square().mean()
        loss = loss + 50 * (given.alpha - target.alpha).square().mean()
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()

    def seconds(self, sds: Sds, size: int) -> dict[str, float]:
        """Of every part, once."""
        config = RandomCameraConfig(size=size, count=self.count)
        target = config.draw(0, torch.Generator().manual_seed(0), self.device)
        clock = Clock(self.device)
        rendering = render_images(self.renderer, self.field, target.camera, target.generator)
        clock("render")
        images = rendering.over(target.background).detach().requires_grad_()
        loss = sds(type(rendering)(images, torch.ones_like(images[..., :1])), target, 0)
        clock("encode and network")
        (gradient,) = torch.autograd.grad(loss, images)
        clock("encoder backward")
        regular = (rendering.alpha.square() + 0.01).sqrt().mean()
        torch.autograd.backward([rendering.over(target.background), regular],
                                [gradient, torch.ones_like(regular)])
        clock("render backward")
        self.rest()
        clock("given view, optimizer")
        return clock.parts


class Clock:
    """Seconds between its calls."""

    def __init__(self, device: torch.device):
        self.device, self.parts = device, {}
        self.last = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __call__(self, name: str) -> None:
        now = self._now()
        self.parts[name] = now - self.last
        self.last = self._now()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cpu")
    options.add_argument("--count", type=int, default=4, help="views per step")
    options.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    options.add_argument("--repeat", type=int, default=3)
    options = options.parse_args()
    iteration = Iteration(options.device, options.count)
    iteration.settle()
    prior = full_size().to(options.device)
    if options.device != "cpu":
        prior.lowered()
    sds = Sds.with_prior(SdsConfig(prior={"type": "zero123", "model": "."}), prior, [iteration.views])
    print(f"| {options.count} views of | render | encode and network | encoder backward | render backward | "
          "given view, optimizer | rest / network |\n|" + " --- |" * 7)
    for size in options.sizes:
        every = [iteration.seconds(sds, size) for _ in range(options.repeat)]
        parts = {name: min(one[name] for one in every) for name in every[0]}
        network = parts["encode and network"] + parts["encoder backward"]
        rest = sum(parts.values()) - network
        print(f"| {size} x {size} | " + " | ".join(f"{1e3 * s:.0f} ms" for s in parts.values())
              + f" | {rest / network:.1%} |", flush=True)


if __name__ == "__main__":
    main()
