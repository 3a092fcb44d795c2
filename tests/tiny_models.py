"""Networks of published layouts with a few thousand random weights."""
import torch

from asset3d.scene.camera import orbit
from asset3d.scene.views import Views
from asset3d.prior.zero123 import Projection, Zero123, noise_schedule

WIDTH = 24


def seeded(make, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def autoencoder():
    from diffusers import AutoencoderKL

    return seeded(lambda: AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=32, block_out_channels=(8, 16, 16),
        layers_per_block=1, norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=0.2)).eval()


def unet(n_in: int = 8):
    from diffusers import UNet2DConditionModel

    return seeded(lambda: UNet2DConditionModel(
        sample_size=8, in_channels=n_in, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=4)).eval()


def image_encoder():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return seeded(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=WIDTH))).eval()


def zero123(seed: int = 0) -> Zero123:
    """With a projection that mixes pose and image, as after training."""
    projection = Projection(WIDTH, WIDTH)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in projection.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return Zero123(unet(), autoencoder(), noise_schedule(), image_encoder(), projection).requires_grad_(False).eval()


def given_view(size: int) -> Views:
    """A disk in noisy colours, seen from the front."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = ((row - size / 2).square() + (column - size / 2).square()).sqrt() < size / 3
    color = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0))
    return Views(orbit(0, 10, 1.85, 49.1, size), color, inside[None, ..., None].float(), ("front",))
