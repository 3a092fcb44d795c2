"""Pictures of a turning object as a film."""
import subprocess
from contextlib import suppress
from pathlib import Path

FRAMES_PER_SECOND = 15
ENCODING = ("-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart",
            "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1")
"""Plays everywhere, and the same pictures give the same bytes."""


def write_turntable(frames: list[Path], path: Path) -> bool:
    """Put equally large pictures with even sides into an MP4 (H.264).

    Returns:
        Whether there is a film: False without imageio-ffmpeg, whose absence costs the film and nothing else.

    Raises:
        OSError: The encoder failed, with what it said.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        return False
    from PIL import Image

    from asset3d.workspace import atomic_path

    with Image.open(frames[0]) as first:
        size = f"{first.width}x{first.height}"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FRAMES_PER_SECOND), "-i", "-")
    with atomic_path(path) as unfinished:
        command = [get_ffmpeg_exe(), "-y", "-v", "error", *raw, *ENCODING, "-f", "mp4", str(unfinished)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
            with suppress(BrokenPipeError):  # it ended early; what it said comes next
                for frame in frames:
                    with Image.open(frame) as picture:
                        encoder.stdin.write(picture.convert("RGB").tobytes())
            said = encoder.communicate()[1].decode(errors="replace").strip()
        if encoder.returncode:
            raise OSError(f"{path}: the encoder of the turntable failed: {said}")
    return True
