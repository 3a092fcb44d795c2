"""What Pillow does not do for PNG files: checksums of every chunk, and 16 bits per colour channel.

Sources: W3C PNG specification (third edition), sections 5 (chunks), 9 (filters) and 13 (sample depth).
"""
import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Allowed bit depths by colour type."""
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def chunks(data: bytes):
    """(type, payload, stored checksum) of every chunk up to IEND; stops silently where the file ends."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield kind, memoryview(data)[at + 8:at + 8 + length], struct.unpack_from(">I", data, at + 8 + length)[0]
        at += 12 + length
        if kind == b"IEND":
            return


def broken_png(data: bytes) -> str | None:
    """Why a file that starts like a PNG cannot be trusted, or None. Ancillary chunks may be damaged."""
    if data[:8] != SIGNATURE:
        return "the signature was changed, as by a transfer in text mode"
    seen = []
    for kind, payload, stored in chunks(data):
        critical = not kind[0] & 0x20
        if critical and zlib.crc32(payload, zlib.crc32(kind)) != stored:
            return f"wrong checksum of chunk {kind.decode('latin-1')}"
        if not seen and (kind != b"IHDR" or len(payload) != 13):
            return "does not begin with a header"
        seen.append(kind)
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack_from(">IIBB", payload)
            if depth not in DEPTHS.get(color, ()):
                return f"bit depth {depth} with colour type {color} does not exist"
            if not width or not height:
                return "has no pixels"
    if b"IDAT" not in seen:
        return "has no pixel data" if seen else "truncated"
    return None if seen[-1] == b"IEND" else "truncated"


def decode_png_16bit(data: bytes) -> np.ndarray | None:
    """(H, W, 3 or 4) float32 in [0, 1] of a 16-bit PNG, None for all others; ValueError or zlib.error when damaged.

    Pillow keeps only the upper byte of 16-bit colours. Interlaced files, which are rare, are left to Pillow.
    """
    header, packed, key = None, [], None
    for kind, payload, _ in chunks(data):
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", payload)
        elif kind == b"IDAT":
            packed.append(bytes(payload))
        elif kind == b"tRNS":
            key = bytes(payload)
    width, height, depth, color, _, _, interlaced = header
    if depth != 16 or interlaced or color not in CHANNELS:
        return None
    channels = CHANNELS[color]
    expected = height * (1 + width * channels * 2)
    inflate = zlib.decompressobj()
    raw = inflate.decompress(b"".join(packed), expected)  # never more than the header promises
    if len(raw) != expected:
        raise ValueError(f"{len(raw)} bytes of pixels, {expected} expected")
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels * 2)
    samples = _unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, channels * 2))
    samples = samples.reshape(height, width, channels, 2).astype(np.uint16)
    return _to_rgba((samples[..., 0] << 8) | samples[..., 1], key)


def _to_rgba(samples: np.ndarray, key: bytes | None) -> np.ndarray:
    """Gray to RGB; a transparent colour (tRNS) to alpha."""
    channels = samples.shape[-1]
    color = np.repeat(samples[..., :1], 3, -1) if channels < 3 else samples[..., :3]
    alpha = samples[..., -1:] if channels in (2, 4) else None
    if alpha is None and key and len(key) == 2 * channels:
        same = (samples == np.frombuffer(key, ">u2")).all(-1, keepdims=True)
        alpha = np.where(same, 0, 65535).astype(np.uint16)
    return (color if alpha is None else np.concatenate([color, alpha], -1)).astype(np.float32) / 65535


def _unfilter(kinds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Undo the row filters of (H, W, bytes per pixel) rows.

    A byte depends on those at the left, above, and above left, so all pixels of one anti-diagonal are done at once.
    """
    if kinds.max(initial=0) > 4:
        raise ValueError(f"row filter {kinds.max()} does not exist")
    height, width, size = rows.shape
    out = np.zeros((height + 1, width + 1, size), np.int16)  # row 0 and column 0 stand for the outside
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        left, up, corner = out[row + 1, column], out[row, column + 1], out[row, column]
        guess = left + up - corner
        far_left, far_up, far_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
        paeth = np.where((far_left <= far_up) & (far_left <= far_corner), left,
                         np.where(far_up <= far_corner, up, corner))
        choices = np.stack([np.zeros_like(left), left, up, (left + up) >> 1, paeth])
        prediction = choices[kinds[row], np.arange(len(row))]
        out[row + 1, column + 1] = (rows[row, column] + prediction) & 255
    return out[1:, 1:].astype(np.uint8)
