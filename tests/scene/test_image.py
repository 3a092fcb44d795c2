"""Images: pixel facts of odd files, and what is refused."""
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from real_data import shared
from PIL import Image, ImageCms

from asset3d.errors import InputError
from asset3d.scene import image as images
from asset3d.scene._png import SIGNATURE, decode_png_16bit
from asset3d.scene.image import image_size, load_gray, load_image, save_png, upright_size

RANDOM = np.random.default_rng(0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16bit(samples: np.ndarray, filters) -> bytes:
    """A 16-bit PNG of (H, W, C) uint16 samples, each row filtered with the given kind (PNG specification 9.2)."""
    height, width, channels = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1).astype(int)
    size, raw = channels * 2, b""
    for y in range(height):
        up = rows[y - 1] if y else np.zeros_like(rows[0])
        left = np.concatenate([np.zeros(size, int), rows[y, :-size]])
        corner = np.concatenate([np.zeros(size, int), up[:-size]])
        guess = left + up - corner
        near = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)])
        paeth = np.choose(near.argmin(0), [left, up, corner])
        predicted = [0 * left, left, up, (left + up) // 2, paeth][filters[y % len(filters)]]
        raw += bytes([filters[y % len(filters)]]) + ((rows[y] - predicted) & 255).astype(np.uint8).tobytes()
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (5, 12)])
def test_16_bit_values_are_exact(channels, size):
    samples = RANDOM.integers(0, 65536, (*size, channels)).astype(np.uint16)
    out = decode_png_16bit(png_16bit(samples, [4, 3, 0, 2, 1]))
    gray = channels < 3
    expected = np.repeat(samples[..., :1], 3, -1) if gray else samples[..., :3]
    if channels in (2, 4):
        expected = np.concatenate([expected, samples[..., -1:]], -1)
    assert np.array_equal(np.round(out * 65535).astype(int), expected)


def test_round_trip(tmp_path):
    color, alpha = torch.rand(5, 7, 3), torch.rand(5, 7, 1)
    save_png(tmp_path / "a.png", color, alpha)
    picture = load_image(tmp_path / "a.png")
    assert (picture.color - color).abs().max() <= 0.5 / 255 + 1e-6
    assert (picture.alpha - alpha).abs().max() <= 0.5 / 255 + 1e-6
    assert picture.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    """Each of the eight orientations, against Pillow's own turning."""
    from PIL import ImageOps
    pixels = Image.fromarray(RANDOM.integers(0, 255, (8, 16, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels.save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    color = load_image(tmp_path / "a.png").color
    assert np.array_equal(np.round(color.numpy() * 255), upright)
    assert upright_size(tmp_path / "a.png") == upright.shape[1::-1] and image_size(tmp_path / "a.png") == (16, 8)
    # A camera calibrated for the stored pixels gets them.
    assert load_image(tmp_path / "a.png", (16, 8)).color.shape == (8, 16, 3)


def test_modes(tmp_path):
    """Palette with transparency, gray, gray with alpha, 1 bit, 16-bit gray, CMYK."""
    palette = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "p.png", transparency=1)
    picture = load_image(tmp_path / "p.png")
    assert picture.color[0, 0].tolist() == [1, 0, 0] and picture.color[1, 0].tolist() == [0, 0, 1]
    assert picture.alpha[..., 0].tolist() == [[1, 0], [1, 0]]
    Image.fromarray(np.array([[0, 51]], np.uint8)).save(tmp_path / "l.png")
    assert load_image(tmp_path / "l.png").color.tolist() == [[[0, 0, 0], pytest.approx([0.2] * 3)]]
    Image.fromarray(np.array([[0, 13107]], np.uint16)).save(tmp_path / "i.png")
    assert load_image(tmp_path / "i.png").color[0, 1].tolist() == pytest.approx([0.2] * 3)
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "1.png")
    assert load_image(tmp_path / "1.png").color[..., 0].tolist() == [[1, 0]]
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "c.jpg")
    assert load_image(tmp_path / "c.jpg").color[4, 4].tolist() == pytest.approx([0, 1, 1], abs=0.02)  # JPEG
    Image.fromarray(np.array([[[0, 128], [255, 0]]], np.uint8), "LA").save(tmp_path / "la.png")
    assert load_image(tmp_path / "la.png").alpha[0, :, 0].tolist() == pytest.approx([128 / 255, 0])
    assert load_gray(tmp_path / "la.png")[0, :, 0].tolist() == pytest.approx([128 / 255, 0])


def test_colour_profile(tmp_path):
    """sRGB passes through, and so does an image whose profile does not fit it."""
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    pixels = Image.new("RGB", (4, 4), (200, 100, 50))
    pixels.save(tmp_path / "s.png", icc_profile=ImageCms.ImageCmsProfile(srgb).tobytes())
    assert load_image(tmp_path / "s.png").color[0, 0].tolist() == pytest.approx([200 / 255, 100 / 255, 50 / 255])
    pixels.save(tmp_path / "broken.png", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    picture = load_image(tmp_path / "broken.png")
    assert "ignored" in picture.notes[0]
    assert picture.color[0, 0].tolist() == pytest.approx([200 / 255, 100 / 255, 50 / 255])


def test_foreign_colour_profile(tmp_path):
    """sRGB's profile with red and green exchanged: a picture that uses it comes out with them exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile = bytearray(profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")))
    profile[red + 4:red + 12], profile[green + 4:green + 12] = profile[green + 4:green + 12], profile[red + 4:red + 12]
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "a.png", icc_profile=bytes(profile))
    picture = load_image(tmp_path / "a.png")
    assert picture.color[0, 0].tolist() == pytest.approx([100 / 255, 200 / 255, 50 / 255], abs=1.5 / 255)
    assert "converted to sRGB" in picture.notes[0]


def test_odd_valid_files():
    """Pixel facts, taken with other programs: PngSuite's pictures are described on its page."""
    folder = shared("data", "odd_valid")
    turned = load_image(folder / "image/hopper_orientation_6.jpg")
    assert turned.color.shape == (128, 128, 3) and turned.notes == ("EXIF orientation 6 applied",)
    stored = np.asarray(Image.open(folder / "image/hopper_orientation_6.jpg"))
    assert np.array_equal(np.round(turned.color.numpy() * 255), np.rot90(stored, -1))  # 6: turn a quarter clockwise
    assert load_image(folder / "image/exif_typeerror.jpg").color.shape == (531, 800, 3)
    cmyk = load_image(folder / "image/pil_sample_cmyk.jpg")
    assert cmyk.color.shape == (100, 100, 3)
    reference = np.asarray(Image.open(folder / "image/pil_sample_cmyk.jpg").convert("RGB"), np.float32) / 255
    assert np.array_equal(cmyk.color.numpy(), reference)
    deep = load_image(folder / "png/basn6a16.png")
    assert deep.color.shape == (32, 32, 3) and deep.notes == ("16 bits per channel",)
    upper = np.asarray(Image.open(folder / "png/basn6a16.png"))  # Pillow keeps the upper byte
    samples = np.round(torch.cat([deep.color, deep.alpha], -1).numpy() * 65535).astype(int)
    assert np.array_equal(samples >> 8, upper) and (samples & 255).std() > 10
    interlaced = load_image(folder / "png/basi6a08.png")
    assert interlaced.alpha is not None and 0 <= interlaced.alpha.min() < 0.1 and interlaced.alpha.max() == 1
    assert load_image(folder / "png/basn3p08.png").alpha is None
    single = load_image(folder / "png/s01n3p01.png")
    assert single.color.tolist() == [[pytest.approx([0, 0, 1])]]


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("content, message", [
    (bomb(30_000, 30_000), "megapixels"),
    (bomb(100_000, 10), "per side"),
    (bomb(2**31 - 1, 2**31 - 1), "megapixels|damaged"),
    (bomb(64, 64), "damaged"),
    (b"", "no readable"),
    (b"GIF89a" + bytes(100), "no readable"),
    (b"BM" + bytes(100), "no readable"),
])
def test_refused(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_image(tmp_path / "a.png")


def test_inflation_stops_at_what_the_header_promises(tmp_path):
    """A 16-bit PNG of 8 x 8 pixels with a gigabyte of zeros behind."""
    header = struct.pack(">IIBBBBB", 8, 8, 16, 6, 0, 0, 0)
    packed = zlib.compressobj()
    data = b"".join(packed.compress(bytes(2**20)) for _ in range(256)) + packed.flush()
    content = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    assert decode_png_16bit(content).shape == (8, 8, 4)


def test_other_refusals(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="not a file"):
        load_image(tmp_path)
    save_png(tmp_path / "a.png", torch.zeros(4, 4, 3))
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="limit"):
        load_image(tmp_path / "a.png")


def test_webp(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 3), (255, 0, 0, 128)).save(buffer, "WEBP", lossless=True)
    (tmp_path / "a.webp").write_bytes(buffer.getvalue())
    picture = load_image(tmp_path / "a.webp")
    assert picture.color[0, 0].tolist() == [1, 0, 0] and float(picture.alpha[0, 0, 0]) == pytest.approx(128 / 255)
