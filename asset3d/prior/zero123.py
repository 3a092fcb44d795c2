"""Zero-1-to-3 (Liu et al. 2023): the view of an object from another direction, given one or more views of it.

The network sees the noisy latent beside the latent of the first given view, and, by cross-attention, one token of image
and pose for each given view. With a single view, as published, that is a single token: softmax over one key is 1, so
that queries and keys of cross-attention have no effect and no gradient (Yu et al. 2024). Several views stand side by
side, as in Cascade-Zero123's refiner and in the multi-view model of Yu et al.

V given views; poses as (azimuth, elevation in degrees, distance).
"""
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asset3d.errors import InputError
from asset3d.models import card_of, folder_of, part_folder
from asset3d.prior.base import Condition, Guide, Prior, PriorConfig, at_size, part, pretrained, without_bars
from asset3d.registry import register
from asset3d.scene.camera import Camera, orbit_of
from asset3d.scene.rigs import ZERO123_FOV
from asset3d.scene.views import Views

WEIGHTS, EXTRACTOR = "diffusion_pytorch_model.safetensors", "preprocessor_config.json"
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


class Zero123Config(PriorConfig):
    type: Literal["zero123"] = "zero123"
    compat: Literal["zero123", "stable_zero123"] | None = None
    """What the fourth number of the pose is: the change of distance, or, as Stable Zero123 was trained, the polar angle
    of the given view. Default: what the model's card says, else zero123."""


def relative_pose(given: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"],
                  compat: str = "zero123") -> Float[Tensor, "B 4"]:
    """What the network is told of the way from a given view to the target: change of the polar angle (from the up
    axis, radians), sine and cosine of the change of azimuth, change of distance.

    Azimuths of asset3d and of Zero-1-to-3 both grow counter-clockwise seen from above; only their zeros differ, which
    a difference does not show.
    """
    polar = torch.deg2rad(given[:, 1] - target[:, 1])  # polar = 90 degrees - elevation
    azimuth = torch.deg2rad(target[:, 0] - given[:, 0])
    last = target[:, 2] - given[:, 2] if compat == "zero123" else torch.deg2rad(90 - given[:, 1])
    return torch.stack([polar, azimuth.sin(), azimuth.cos(), last], -1)


def ways(given: Float[Tensor, "B V 3"], target: Float[Tensor, "B 3"],
         compat: str = "zero123") -> Float[Tensor, "B V 4"]:
    """`relative_pose` from each of several given views."""
    b, v = given.shape[:2]
    return relative_pose(given.flatten(0, 1), target.repeat_interleave(v, 0), compat).unflatten(0, (b, v))


def with_second(many: Float[Tensor, "B V *rest"], one: Float[Tensor, "B *rest"]) -> Tensor:
    """`one` between the first and the others: the place of the coarse target."""
    return torch.cat([many[:, :1], one[:, None], many[:, 1:]], 1)


def rig_poses(camera: Camera) -> Float[Tensor, "B 3"]:
    """Azimuth, elevation, and the distance from which the rig of Zero-1-to-3, whose field of view is fixed, shows the
    object as large. Other lenses only differ in perspective."""
    pose = orbit_of(camera)
    shown = camera.height / (2 * camera.intrinsics[:, 1])  # tangent of half the field of view
    pose[:, 2] *= shown / math.tan(math.radians(ZERO123_FOV) / 2)
    return pose


class Projection(nn.Module):
    """From an image embedding and a pose to a token; starts as the embedding itself. Named as published folders have
    it: cc_projection/ with `projection.weight` and `projection.bias`."""

    def __init__(self, width: int, token_width: int, pose_width: int = 4):
        super().__init__()
        self.projection = nn.Linear(width + pose_width, token_width)
        with torch.no_grad():
            nn.init.eye_(self.projection.weight)
            self.projection.weight[:, width:] = 0
            self.projection.bias.zero_()

    def forward(self, embedding: Float[Tensor, "... D"], pose: Float[Tensor, "... 4"]) -> Float[Tensor, "... T"]:
        return self.projection(torch.cat([embedding, pose], -1))


class PoseProjection(nn.Module):
    """A second token for each view, that tells of the pose apart from the image (Yu et al. 2024, model two): a share of
    the first token, at first all of it, plus a projection of the pose, at first zero.

    So it starts as a copy of the first token. Softmax over equal keys weighs equal values, and a model that knows one
    token per view behaves as before, to rounding, yet the gradient of the new weights is whole from the first step on.
    A pose alone, kept out of the softmax at first by a bias of its key, would start as exactly as softmax is near 1,
    and learn as little.
    """

    def __init__(self, token_width: int, pose_width: int = 4):
        super().__init__()
        self.hidden, self.out = nn.Linear(pose_width, token_width), nn.Linear(token_width, token_width)
        self.share = nn.Parameter(torch.ones(token_width))
        for zero in (self.hidden.bias, self.out.weight, self.out.bias):
            nn.init.zeros_(zero)

    def forward(self, token: Float[Tensor, "... T"], pose: Float[Tensor, "... 4"]) -> Float[Tensor, "... T"]:
        return self.share * token + self.out(nn.functional.silu(self.hidden(pose)))


@register("prior", Zero123Config)
class Zero123(Prior):
    """The view of an object from another direction, given one or more views of it."""

    def __init__(self, unet: nn.Module, vae: nn.Module, scheduler, image_encoder: nn.Module, projection: Projection,
                 compat: str = "zero123", colors: tuple = HALF, pose_projection: PoseProjection | None = None):
        super().__init__(unet, vae, scheduler)
        self.pose_projection = pose_projection
        """Makes a second token for each view, where there is one."""
        self.image_encoder, self.cc_projection, self.compat = image_encoder, projection, compat
        self.colors = colors
        """Mean and deviation of the colours that the image encoder was trained on."""

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu", compat: str | None = None) -> "Zero123":
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPVisionModelWithProjection

        folder = folder_of(folder)
        unet = pretrained(folder, "unet", UNet2DConditionModel)
        vae = pretrained(folder, "vae", AutoencoderKL)
        encoder = pretrained(folder, "image_encoder", CLIPVisionModelWithProjection)
        scheduler = part(folder, "scheduler", lambda path: DDIMScheduler.from_pretrained(path, local_files_only=True))
        projection = Projection(encoder.config.projection_dim, unet.config.cross_attention_dim)
        part(folder, "cc_projection", lambda path: _load_weights(projection, path))
        poses = None
        if part_folder(folder, "pose_projection") is not None:
            poses = PoseProjection(unet.config.cross_attention_dim)
            part(folder, "pose_projection", lambda path: _load_weights(poses, path))
        extractor = part(folder, "feature_extractor", lambda path: json.loads((path / EXTRACTOR).read_text("utf-8")))
        colors = tuple(tuple(extractor[name]) for name in ("image_mean", "image_std"))
        compat = compat or card_of(folder).get("compat", "zero123")
        prior = cls(unet, vae, scheduler, encoder, projection, compat, colors, poses)
        return prior.requires_grad_(False).eval().to(device)

    def split(self, generator: torch.Generator) -> None:
        """From here on two tokens for each view: see `PoseProjection`. No change, where they are split already."""
        if self.pose_projection is None:
            self.pose_projection = PoseProjection(self.unet.config.cross_attention_dim)
            nn.init.normal_(self.pose_projection.hidden.weight, generator=generator)
            self.pose_projection.to(self.signal.device)

    def save(self, folder: Path) -> None:
        """Write all parts in the layout that `load` reads."""
        from safetensors.torch import save_file

        with without_bars():
            for name in ("unet", "vae", "image_encoder"):
                getattr(self, name).save_pretrained(folder / name, safe_serialization=True)
        self.scheduler.save_pretrained(folder / "scheduler")
        for name, module in self.projections().items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            save_file({key: value.contiguous() for key, value in module.state_dict().items()},
                      folder / name / WEIGHTS)
        (folder / "feature_extractor").mkdir(exist_ok=True)
        document = {"feature_extractor_type": "CLIPImageProcessor", "image_mean": self.colors[0],
                    "image_std": self.colors[1], "size": {"shortest_edge": self.image_encoder.config.image_size}}
        (folder / "feature_extractor" / EXTRACTOR).write_text(json.dumps(document, indent=1), encoding="utf-8")

    @classmethod
    def of(cls, config: Zero123Config, device: torch.device | str = "cpu") -> "Zero123":
        return cls.load(config.model, device, config.compat)

    @torch.no_grad()
    def guide(self, views: Sequence[Views], prompt: str = "") -> Guide:
        """Conditions from all views as given ones, in their order; `prompt` is not used."""
        images = torch.cat([at_size(v.on_white, self.image_size) for v in views])
        given = torch.cat([rig_poses(v.camera) for v in views])
        embeddings, latents = self.embed(images), self.encode_unscaled(images[:1])

        def condition(camera: Camera) -> Condition:
            b, v = len(camera), len(given)
            target = rig_poses(camera)
            poses = relative_pose(given.repeat(b, 1), target.repeat_interleave(v, 0), self.compat)
            tokens = self.tokens(embeddings.expand(b, -1, -1), poses.unflatten(0, (b, v)))
            return Condition(tokens, latents.expand(b, -1, -1, -1))

        return condition

    @property
    def encoders(self) -> Sequence[nn.Module]:
        return (self.image_encoder,)

    def embed(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B D"]:
        """CLIP embeddings, resized as the published model was trained: bicubic, corners aligned, no antialiasing."""
        size = self.image_encoder.config.image_size
        pixels = images.permute(0, 3, 1, 2)
        if pixels.shape[2:] != (size, size):
            pixels = nn.functional.interpolate(pixels, (size, size), mode="bicubic", align_corners=True)
        mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in self.colors)
        given = ((pixels - mean) / deviation).to(self.image_encoder.device)
        return self.image_encoder(pixel_values=given).image_embeds.to(images.device)

    def projections(self) -> dict[str, nn.Module]:
        """What makes tokens, by the names of their folders."""
        made = {"cc_projection": self.cc_projection}
        return made if self.pose_projection is None else made | {"pose_projection": self.pose_projection}

    def tokens(self, embeddings: Float[Tensor, "B V D"], poses: Float[Tensor, "B V 4"]) -> Float[Tensor, "B K T"]:
        """One token per given view; where tokens are split, a second one per view behind them, in the same order."""
        tokens = self.cc_projection(embeddings, poses)
        if self.pose_projection is None:
            return tokens
        return torch.cat([tokens, self.pose_projection(tokens, poses)], 1)

    def condition(self, images: Float[Tensor, "B V H W 3"], given: Float[Tensor, "B V 3"], target: Float[Tensor, "B 3"],
                  coarse: Float[Tensor, "B H W 3"] | None = None) -> Condition:
        """What the network is told to draw the target; the first view also as a latent, unscaled as published.

        Args:
            images: The given views. For the refiner of Cascade-Zero123: the source, then self-prompted views.
            given: Where they were taken from.
            target: Where to look from.
            coarse: A first guess of the target, for that refiner: the second token, with a pose of four zeros.
        """
        poses = ways(given, target, self.compat)
        if coarse is not None:
            images, poses = with_second(images, coarse), with_second(poses, torch.zeros_like(poses[:, 0]))
        embeddings = self.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return Condition(self.tokens(embeddings, poses), self.encode_unscaled(images[:, 0]))


def _load_weights(module: nn.Module, folder: Path) -> None:
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: no such file; weights are read from safetensors only")
    module.load_state_dict(load_file(path))


def noise_schedule(prediction: Literal["epsilon", "v_prediction"] = "epsilon", n_times: int = 1000):
    """That of Stable Diffusion: betas 0.00085 to 0.012, linear in their roots; `prediction` is what the network says,
    the noise as published, or v."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(num_train_timesteps=n_times, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                         clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction)
