"""Image files in, tensors out. Letters in shapes: H rows, W columns.

Only PNG, JPEG and WebP are decoded, and only after the size in the header was found acceptable. Whatever the file
holds (palette, gray, CMYK, 16 bits, an EXIF orientation, an ICC profile) comes out as sRGB colours as a viewer would
show them, with straight alpha.
"""
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene._png import broken_png, decode_png_16bit

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 89_478_485
"""Pillow's own limit for a decompression bomb; refused before anything is allocated."""
MAX_BYTES = 512 * 2**20
MAX_SIDE = 32_768
ORIENTATION = 0x0112
"""EXIF tag: how the stored pixels must be turned to stand upright."""


@dataclass(frozen=True)
class Picture:
    """One decoded image."""

    color: Float[Tensor, "H W 3"]
    """sRGB in [0, 1], not multiplied with alpha."""
    alpha: Float[Tensor, "H W 1"] | None
    """None where the file has no transparency."""
    notes: tuple[str, ...] = ()
    """What was unusual about the file and how it was read."""


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) as stored, before any EXIF rotation, read from the header alone; InputError when unreadable."""
    with opened(path, _read(path)) as image:
        return image.size


def upright_size(path: Path, stored_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(width, height) of what `load_image` returns, from the header alone; InputError when unreadable."""
    with opened(path, _read(path)) as image:
        turned = image.size[::-1] if _orientation(image) >= 5 else image.size
        return image.size if stored_size is not None and tuple(stored_size) == image.size else turned


def load_image(path: Path, stored_size: tuple[int, int] | None = None) -> Picture:
    """Decode an image file.

    Args:
        path: A PNG, JPEG or WebP file.
        stored_size: (width, height) that a camera calibration expects. When only the pixels as stored have that size,
            the EXIF orientation is not applied, because structure-from-motion programs ignore it.

    Raises:
        InputError: Not one of the formats, damaged, or larger than the limits.
    """
    return decode_image(_read(path), path, stored_size)


def decode_image(data: bytes, name: str | Path, stored_size: tuple[int, int] | None = None) -> Picture:
    """`load_image` for bytes that are in memory; `name` is what errors call them."""
    notes = []
    with opened(name, data) as image:
        orientation = _orientation(image)
        turned = image.size[::-1] if orientation >= 5 else image.size
        keep = stored_size is not None and tuple(stored_size) == image.size and turned != image.size
        try:
            if getattr(image, "n_frames", 1) > 1:
                notes.append(f"has {image.n_frames} frames; the first is used")
            pixels = _pixels(image, data, notes)
        except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged files
            raise _damaged(name, error) from None
    if orientation > 1 and not keep:
        pixels = _upright(pixels, orientation)
        notes.append(f"EXIF orientation {orientation} applied")
    pixels = torch.from_numpy(np.ascontiguousarray(pixels))
    alpha = pixels[..., 3:].clone() if pixels.shape[-1] == 4 else None
    return Picture(pixels[..., :3].contiguous(), alpha, tuple(notes))


def load_gray(path: Path, stored_size: tuple[int, int] | None = None) -> Float[Tensor, "H W 1"]:
    """One channel in [0, 1] of an image that holds a mask: its alpha where that varies, its luminance otherwise."""
    picture = load_image(path, stored_size)
    if picture.alpha is not None and float(picture.alpha.min()) < 1:
        return picture.alpha
    return picture.color.mean(-1, keepdim=True)


def load_whole_numbers(path: Path) -> Float[Tensor, "H W"]:
    """The values of a gray PNG of 8 or 16 bits as they are stored, as depth maps have them.

    Raises:
        InputError: As `load_image`, or the image is not gray.
    """
    with opened(path, _read(path)) as image:
        if image.mode not in ("L", "I", "I;16", "I;16B"):
            raise InputError(f"{path}: is of colour mode {image.mode}, not gray; save depths as a 16-bit gray PNG, or "
                             "as .npy")
        try:
            return torch.from_numpy(np.array(image, dtype=np.float32))
        except Exception as error:  # decoders raise anything on damaged files
            raise _damaged(path, error) from None


def to_bytes(color: Float[Tensor, "... C"]) -> np.ndarray:
    """uint8 values of an image in [0, 1], rounded to nearest (halves up), as Pillow takes them."""
    return (color.detach().cpu().float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()


def encode_png(color: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W 1"] | None = None) -> bytes:
    """The bytes of an 8-bit PNG; equal input gives equal bytes."""
    from PIL import Image
    pixels = color if alpha is None else torch.cat([color, alpha], -1)
    pixels = to_bytes(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def save_png(path: Path, color: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W 1"] | None = None) -> None:
    """Write an 8-bit PNG (gray for one channel)."""
    Path(path).write_bytes(encode_png(color, alpha))


def _read(path: Path) -> bytes:
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{path}: is not a file; give the path of a PNG, JPEG or WebP image")
        if size > MAX_BYTES:
            raise InputError(f"{path}: has {size / 2**20:.0f} MiB, more than the limit of {MAX_BYTES >> 20} MiB; "
                             "downscale the image")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None


def opened(path: str | Path, data: bytes):
    """The image with only its header parsed, when its format and size are acceptable."""
    from PIL import Image
    broken = broken_png(data) if data[:4] == b"\x89PNG" else None
    if broken:
        raise InputError(f"{path}: damaged PNG: {broken}; export the image again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"{path}: has more than {MAX_PIXELS / 1e6:.0f} megapixels; downscale the image") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path}: is no readable PNG, JPEG or WebP image; convert or export it again") from None
    except Exception as error:
        raise _damaged(path, error) from None
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InputError(f"{path}: {width} x {height} pixels are more than the limit of {MAX_PIXELS / 1e6:.0f} "
                         f"megapixels or {MAX_SIDE} per side; downscale the image")
    return image


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: damaged image ({error or type(error).__name__}); export it again")


def _orientation(image) -> int:
    """The EXIF orientation, 1 (upright) when missing or nonsense."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF blocks are often broken; the pixels are not
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 2..4 mirror and half turns, 5..8 swap rows and columns first."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[::-1 if flip_rows else 1, ::-1 if flip_columns else 1]


def _pixels(image, data: bytes, notes: list[str]) -> np.ndarray:
    """(H, W, 3 or 4) float32 in [0, 1]."""
    deep = decode_png_16bit(data) if image.format == "PNG" else None
    if deep is not None:
        notes.append("16 bits per channel")
        return deep
    if image.mode in ("I", "I;16", "I;16B", "F"):
        notes.append("16 bits per channel")
        gray = np.clip(np.asarray(image, dtype=np.float32) / 65535, 0, 1)
        return np.repeat(gray[..., None], 3, -1)
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if image.mode not in ("RGB", "RGBA"):
        notes.append(f"colour mode {image.mode} converted to RGB")
    profile = image.info.get("icc_profile")
    if transparent:
        image = image.convert("RGBA")
    elif not (profile and image.mode == "CMYK"):
        image = image.convert("RGB")
    image = _to_srgb(image, profile, notes)
    pixels = np.array(image, dtype=np.float32)
    pixels /= 255  # in place: a photo of 80 megapixels is 1 GB
    return pixels


def _to_srgb(image, profile: bytes | None, notes: list[str]):
    """Apply an embedded colour profile that is not sRGB (phones write Display P3); a broken one is ignored."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if not profile:
        return image.convert(mode)
    from PIL import ImageCms
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if "srgb" in name.lower():
            return image.convert(mode)
        image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
        notes.append(f"colour profile '{name}' converted to sRGB")
    except (ImageCms.PyCMSError, OSError):
        notes.append("colour profile cannot be used and is ignored")
    return image.convert(mode)
