"""From how far above a picture was taken, by a small network."""
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asset3d.models import folder_of
from asset3d.prior.base import at_size, part

PART, WEIGHTS = "elevation", "model.safetensors"
SIZE = 64
CHANNELS = (3, 24, 48, 64, 96)


class ElevationNet(nn.Module):
    """Convolutions that halve the image four times, and two linear layers."""

    def __init__(self):
        super().__init__()
        layers = [layer for n_in, n_out in zip(CHANNELS, CHANNELS[1:])
                  for layer in (nn.Conv2d(n_in, n_out, 4, 2, 1), nn.GroupNorm(8, n_out), nn.SiLU())]
        self.features = nn.Sequential(*layers)
        side = SIZE >> (len(CHANNELS) - 1)
        self.head = nn.Sequential(nn.Linear(CHANNELS[-1] * side * side, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B"]:
        """Degrees above the horizon; the object is in front of white, and fills most of the square image."""
        pixels = at_size(images, SIZE).permute(0, 3, 1, 2) * 2 - 1
        return 90 * torch.tanh(self.head(self.features(pixels).flatten(1)))[:, 0]

    @classmethod
    def load(cls, folder: str | Path) -> "ElevationNet":
        from safetensors.torch import load_file

        network = cls()
        weights = part(folder_of(folder), PART, lambda path: load_file(path / WEIGHTS))
        network.load_state_dict({name: value.float() for name, value in weights.items()})
        return network.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        (folder / PART).mkdir()
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / PART / WEIGHTS)


def centred(images: Float[Tensor, "B H W 3"], fill: float = 0.9) -> Float[Tensor, "B S S 3"]:
    """Each object cropped to its box, in the middle of a white square of which its longer side takes `fill`."""
    from torch.nn.functional import affine_grid, grid_sample

    b, h, w, _ = images.shape
    seen = (1 - images).amax(-1) > 0.03
    middle, half = images.new_zeros(b, 2), images.new_ones(b)
    for k in range(b):
        rows, columns = torch.nonzero(seen[k].any(1))[:, 0], torch.nonzero(seen[k].any(0))[:, 0]
        if len(rows):
            low = torch.stack([columns[0] / w, rows[0] / h])
            high = torch.stack([(columns[-1] + 1) / w, (rows[-1] + 1) / h])
            middle[k], half[k] = low + high - 1, (high - low).max()
    theta = torch.zeros(b, 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = half / fill
    theta[:, :, 2] = middle
    grid = affine_grid(theta, [b, 3, SIZE, SIZE], align_corners=False)
    ink = (1 - images).permute(0, 3, 1, 2)  # zero outside, as white should be
    return 1 - grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False).permute(0, 2, 3, 1)
