"""Published checkpoints -> folders in diffusers format: Zero-1-to-3, Stable Diffusion 1 and 2, in the layout of latent
diffusion (LDM).

The one place where pickle is read: by `torch.load(weights_only=True)`, with a cap on sizes. Every weight of the
checkpoint is either used, or known to be none that its network needs; every weight of the networks is found.
"""
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asset3d.errors import InputError
from asset3d.models import CARD, _layout, catalog
from asset3d.workspace import atomic_folder, tree_hash

MAX_BYTES, MAX_PICKLE_BYTES = 48 << 30, 64 << 20
UNET, VAE, COND, EMA = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "model_ema."
EMA_COUNTS = ("decay", "num_updates")
NOT_NEEDED = (
    r"(model\.)?(betas|logvar|scale_factor|.*alphas_cumprod(_prev)?|posterior_.*)",  # the noise schedule
    r"model_ema\..*",  # in place of which, or of whose trained counterpart, the other is used
    r"first_stage_model\.loss\..*",  # the discriminator
    r".*\.position_ids", r"cond_stage_model\.(mean|std)", r"depth_model\..*",
    r"cond_stage_model\.model\.(text_projection|logit_scale|attn_mask)",
)
"""Patterns of names of a checkpoint that no network here needs."""
TEXT_OF_CLIP = re.compile(r"cond_stage_model\.model\.(positional_embedding|token_embedding\.weight|ln_final\..*)")
"""What is left of CLIP's text model in a checkpoint of Zero-1-to-3."""
PREDICTIONS = ("epsilon", "v_prediction")
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that CLIP was trained on (Radford et al. 2021)."""


@dataclass(frozen=True)
class Told:
    """What weights do not show."""

    heads: int | None = 8
    """Of each attention of the UNet; None: as many as have 64 channels."""
    size: int = 64
    """Rows and columns of latents."""
    prediction: str = "epsilon"
    """epsilon or v_prediction."""
    scale: float = 0.18215
    """Factor of latents."""

    @classmethod
    def second(cls, prediction: str) -> "Told":
        """Of Stable Diffusion 2: 768 pixels with v_prediction, 512 with epsilon."""
        return cls(heads=None, size=96 if prediction == "v_prediction" else 64, prediction=prediction)


@dataclass
class Report:
    """What was converted."""

    prior: str
    parts: dict[str, int] = field(default_factory=dict)
    """Tensors of each network."""
    ema: bool = False
    """Whether the UNet's weights are averages over the training."""
    not_needed: int = 0
    """Tensors of the checkpoint that no network needs."""
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.parts.items())
        return (f"{self.prior}: {parts} tensors{' (averaged weights)' if self.ema else ''}; "
                f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, {self.not_needed} not needed")


def convert(checkpoint: Path, folder: Path, *, name: str | None = None, tokenizer: Path | None = None,
            told: Told | None = None, max_bytes: int = MAX_BYTES) -> Report:
    """Write a published checkpoint as a folder in diffusers format.

    Args:
        checkpoint: .ckpt of Lightning, or .safetensors with the same names.
        folder: To write; appears when it is whole.
        name: Of a known model, whose licence goes into the card; default: that of the file, where it is known.
        tokenizer: Folder of a tokenizer; models of words need it, since checkpoints have none.
        told: What weights do not show; default: as published.
        max_bytes: Larger files are refused.

    Raises:
        InputError: the file is no such checkpoint, or weights are missing or unexpected: all are named.
    """
    checkpoint, folder = Path(checkpoint), Path(folder)
    weights = read(checkpoint, max_bytes)
    name = name or next((n for n, known in catalog.PUBLISHED.items() if known.file == checkpoint.name), None)
    report = Report(_prior_of(weights))
    told = told or _published(weights, report.prior)
    with atomic_folder(folder) as unfinished:
        used = _Used(weights, unfinished, report)
        _write_unet(used, told)
        used.network("vae", VAE, _vae(told))
        if report.prior == "zero123":
            _write_image_encoder(used)
        else:
            _write_text_encoder(used)
            _copy_tokenizer(tokenizer, unfinished)
        _write_scheduler(unfinished, told)
        used.finish(checkpoint)
        card = _card(name, checkpoint, report)
        (unfinished / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return report


# ------------------------------------------------------------------------------------------------------- reading


class _Inert:
    """Stands for a class of Lightning that a checkpoint names; whatever is done to it, it does nothing."""

    def __init__(self, *given):
        pass

    def __setstate__(self, state):
        pass


def read(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """The tensors of a checkpoint, mapped from the disk. No code of the file is run.

    Raises:
        InputError: it is too large, damaged, compressed, or holds anything but tensors and plain data.
    """
    if not path.is_file():
        raise InputError(f"convert: no such file: {path}")
    if path.stat().st_size > max_bytes:
        raise InputError(f"convert: {path} has {path.stat().st_size / 1e9:.1f} GB; more than {max_bytes / 1e9:.1f} GB "
                         "are refused")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _check_archive(path)
        return _tensors(_load(path), path)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes the readers raise
        raise InputError(f"convert: {path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error


def _load(path: Path) -> Any:
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    harmless = [(_Inert, n) for n in names if n.startswith(("pytorch_lightning.", "lightning."))]
    with torch.serialization.safe_globals(harmless):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _check_archive(path: Path) -> None:
    """Refuse what unpacks to more than it weighs."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"convert: {path} is no checkpoint of PyTorch 1.6 or newer")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise InputError(f"convert: {path}: its parts are compressed, which those of PyTorch never are")
            if entry.filename.endswith("data.pkl") and entry.file_size > MAX_PICKLE_BYTES:
                raise InputError(f"convert: {path}: {entry.filename} has {entry.file_size} bytes")


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    tensors = {key: value for key, value in (weights or {}).items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"convert: {path} holds no tensors by name, nor a `state_dict` of them")
    return tensors


def _is_not_needed(key: str) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in NOT_NEEDED)


def _prior_of(weights: _layout.Weights) -> str:
    """Which prior runs the network."""
    if any(key.startswith("conditioner.embedders.") for key in weights):
        raise InputError("convert: a checkpoint of SDXL; use its folder in diffusers format")
    first = weights.get(UNET + "input_blocks.0.0.weight")
    channels = first.shape[1] if first is not None and first.ndim == 4 else None
    if "cc_projection.weight" in weights and channels == 8:
        return "zero123"
    if channels in (4, 5) and any(key.startswith(COND) for key in weights):
        return "text_image" if channels == 4 else "depth_image"
    raise InputError("convert: neither Zero-1-to-3 nor Stable Diffusion 1 or 2 in the layout of latent diffusion: "
                     f"`{UNET}input_blocks.0.0.weight` takes {channels} channels, and needs 8 with `cc_projection.*`, "
                     f"4 or 5 with `{COND}*`")


def _published(weights: _layout.Weights, prior: str) -> Told:
    """As the authors have trained it."""
    if prior == "zero123":
        return Told(size=32)
    if COND + "model.ln_final.weight" not in weights:
        return Told()
    if prior == "depth_image":
        return Told(heads=None)
    raise InputError("convert: a checkpoint of Stable Diffusion 2 does not show what it predicts: give "
                     "prediction=v_prediction for the model of 768 pixels, prediction=epsilon for that of 512")


# -------------------------------------------------------------------------------------------------------- parts


class _Used:
    """The weights of a checkpoint, which of them were used, and the networks made of them."""

    def __init__(self, weights: _layout.Weights, folder: Path, report: Report):
        self.weights, self.folder, self.report = weights, folder, report
        self.keys: set[str] = set()

    def take(self, prefix: str) -> dict[str, Tensor]:
        """Weights below a prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.weights.items()
                if key.startswith(prefix) and not _is_not_needed(key)}

    def network(self, part: str, prefix: str, make: Callable[[dict[str, Tensor]], tuple[nn.Module, dict]],
                instead: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict) -> nn.Module:
        """Write the network that `make` builds of the weights below a prefix, with their new names.

        Args:
            part: Its folder.
            prefix: Of its weights in the checkpoint.
            make: Gives the network, without memory, and the weights as it names them.
            instead: Gives the weights to use in place of those.
        """
        taken = self.take(prefix)
        self.keys |= {prefix + key for key in taken}
        chosen = instead(taken)
        network, renamed = make(chosen)
        self.write(part, network, renamed)
        places = {value.data_ptr() for value in renamed.values()}  # converters drop names that they do not know
        self.report.unexpected += [prefix + key for key, value in chosen.items() if value.data_ptr() not in places]
        return network

    def write(self, part: str, network: nn.Module, renamed: dict[str, Tensor]) -> None:
        """Fill a network that has no memory yet, and save it."""
        wanted = network.state_dict()
        missing = [key for key in wanted if key not in renamed]
        wrong = [key for key in wanted if key in renamed and renamed[key].shape != wanted[key].shape]
        self.report.missing += [f"{part}: {key}" for key in missing]
        self.report.unexpected += [f"{part}: {key}" for key in renamed if key not in wanted]
        self.report.unexpected += [f"{part}: {key} {list(renamed[key].shape)}, not {list(wanted[key].shape)}"
                                   for key in wrong]
        self.report.parts[part] = len(wanted)
        if missing or wrong:
            return  # what is wrong is told when all parts are known
        network.load_state_dict({key: renamed[key].contiguous() for key in wanted}, strict=True, assign=True)
        network.save_pretrained(self.folder / part, safe_serialization=True)

    def finish(self, checkpoint: Path) -> None:
        """Refuse a checkpoint that does not fit."""
        report = self.report
        left = [key for key in self.weights if key not in self.keys]
        not_needed = [key for key in left if _is_not_needed(key) or (report.prior == "zero123" and
                                                                           TEXT_OF_CLIP.fullmatch(key))]
        report.unexpected += sorted({*left} - {*not_needed})
        report.not_needed += len(not_needed)
        if report.missing or report.unexpected:
            lines = [f"  missing: {key}" for key in report.missing] + [f"  unexpected: {k}" for k in report.unexpected]
            raise InputError(f"convert: {checkpoint}: {len(report.missing)} missing and {len(report.unexpected)} "
                             "unexpected weights; nothing was written\n" + "\n".join(lines))


def _empty(cls: type, config: Any) -> nn.Module:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return cls(**config) if isinstance(config, dict) else cls(config)


def _write_unet(used: _Used, told: Told) -> None:
    """With averaged weights in place of the trained ones, where there are any."""
    def make(weights: dict[str, Tensor]) -> tuple[nn.Module, dict]:
        from diffusers import UNet2DConditionModel
        from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

        network = _empty(UNet2DConditionModel, _layout.unet_config(weights, told.heads, told.size))
        named = {UNET + key: value for key, value in weights.items()}
        return network, convert_ldm_unet_checkpoint(named, network.config)

    def averaged(trained: dict[str, Tensor]) -> dict[str, Tensor]:
        averages = {key for key in used.weights if key.startswith(EMA) and key.removeprefix(EMA) not in EMA_COUNTS}
        if not averages:
            return trained
        # buffers of PyTorch had no dots in their names when these were written
        names = {key: EMA + (UNET + key).removeprefix("model.").replace(".", "") for key in trained}
        used.report.ema = True
        used.report.missing += [name for name in names.values() if name not in averages]
        used.report.unexpected += sorted(averages - set(names.values()))
        return {key: used.weights.get(name, trained[key]) for key, name in names.items()}

    used.network("unet", UNET, make, averaged)


def _vae(told: Told):
    def make(weights: dict[str, Tensor]) -> tuple[nn.Module, dict]:
        from diffusers import AutoencoderKL
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        network = _empty(AutoencoderKL, _layout.vae_config(weights, told.scale))
        return network, convert_ldm_vae_checkpoint({VAE + key: value for key, value in weights.items()}, network.config)

    return make


def _write_image_encoder(used: _Used) -> None:
    """CLIP's vision model, what prepares its images, and the projection of image and pose to a token."""
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    def make(weights: dict[str, Tensor]) -> tuple[nn.Module, dict]:
        config = CLIPVisionConfig(**_layout.vision_config(weights))
        names = _layout.from_clip(weights, _layout.CLIP_VISION, "vision_model")
        return _empty(CLIPVisionModelWithProjection, config), names

    encoder = used.network("image_encoder", COND + "model.visual.", make)
    (used.folder / "feature_extractor").mkdir()
    document = {"feature_extractor_type": "CLIPImageProcessor", "image_mean": MEAN, "image_std": DEVIATION,
                "size": {"shortest_edge": encoder.config.image_size}}
    (used.folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(document, indent=1))
    projection = used.take("cc_projection.")
    used.report.missing += [f"cc_projection.{key}" for key in ("weight", "bias") if key not in projection]
    used.keys |= {f"cc_projection.{key}" for key in projection if key in ("weight", "bias")}
    (used.folder / "cc_projection").mkdir()
    save_file({f"projection.{key}": value.contiguous() for key, value in projection.items()},
              used.folder / "cc_projection" / "diffusion_pytorch_model.safetensors")
    used.report.parts["cc_projection"] = len(projection)


def _write_text_encoder(used: _Used) -> None:
    """CLIP's text model: of OpenAI in Stable Diffusion 1; of OpenCLIP, without its last layer, in 2."""
    from transformers import CLIPTextConfig, CLIPTextModel

    def first(weights: dict[str, Tensor]) -> tuple[nn.Module, dict]:
        config = CLIPTextConfig(**_layout.text_config_of_transformers(weights))
        return _named_alike(_empty(CLIPTextModel, config), weights)

    def second(weights: dict[str, Tensor]) -> tuple[nn.Module, dict]:
        layers = _layout.layers_of(weights, "resblocks")
        config = CLIPTextConfig(**_layout.text_config(weights, layers))
        renamed = _layout.from_clip(weights, _layout.CLIP_TEXT, "text_model")
        return _named_alike(_empty(CLIPTextModel, config), renamed)

    def without_last(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        last = f"resblocks.{_layout.layers_of(weights, 'resblocks') - 1}."
        kept = {key: value for key, value in weights.items() if last not in key}
        used.report.not_needed += len(weights) - len(kept)
        return kept

    if COND + "model.ln_final.weight" in used.weights:
        used.network("text_encoder", COND + "model.", second, without_last)
    else:
        used.network("text_encoder", COND + "transformer.", first)


def _named_alike(network: nn.Module, weights: dict[str, Tensor]) -> tuple[nn.Module, dict]:
    """Since transformers 5, CLIPTextModel has its weights without `text_model.`"""
    prefix = "" if any(key.startswith("text_model.") for key in network.state_dict()) else "text_model."
    return network, {key.removeprefix(prefix): value for key, value in weights.items()}


def _copy_tokenizer(tokenizer: Path | None, folder: Path) -> None:
    if tokenizer is None or not Path(tokenizer).is_dir():
        raise InputError("convert: a checkpoint has no tokenizer: give tokenizer=FOLDER, such as tokenizer/ of another "
                         "model of the same family in diffusers format")
    shutil.copytree(tokenizer, folder / "tokenizer")


def _write_scheduler(folder: Path, told: Told) -> None:
    """The noise schedule of all of them: betas 0.00085 to 0.012, linear in their roots."""
    from diffusers import DDIMScheduler

    DDIMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                  clip_sample=False, set_alpha_to_one=False, steps_offset=1,
                  prediction_type=told.prediction).save_pretrained(folder / "scheduler")


def _card(name: str | None, checkpoint: Path, report: Report) -> dict[str, Any]:
    known = catalog.PUBLISHED.get(name) if name else None
    card = {"name": name or checkpoint.stem, "prior": report.prior,
            "made of": {"file": checkpoint.name, "sha256": tree_hash(checkpoint), "averaged": report.ema}}
    if known is not None:
        card |= {"licence": known.licence, "use": known.use, "source": known.source, "alternative": known.alternative,
                 "compat": known.compat}
    return {key: value for key, value in card.items() if value is not None}
