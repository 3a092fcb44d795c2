"""Pictures of a turning object as a film."""
from pathlib import Path

FRAMES_PER_SECOND = 15


def write_turntable(frames: list[Path], path: Path) -> bool:
    """Put equally large RGB pictures with even sides into an MP4 (H.264) that loops smoothly and plays everywhere.

    Returns:
        Whether there is a film: False without imageio-ffmpeg, whose absence costs the film and nothing else.

    Raises:
        OSError: The encoder failed or the file cannot be written.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        return False
    from PIL import Image

    from asset3d.workspace import atomic_path

    with Image.open(frames[0]) as first:
        size = first.size
    options = ["-crf", "20", "-preset", "medium", "-movflags", "+faststart", "-map_metadata", "-1",
               "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"]
    with atomic_path(path) as unfinished:
        writer = imageio_ffmpeg.write_frames(str(unfinished), size, fps=FRAMES_PER_SECOND, codec="libx264",
                                             quality=None, pix_fmt_out="yuv420p", macro_block_size=2,
                                             ffmpeg_log_level="error", output_params=options)
        writer.send(None)
        for frame in frames:
            with Image.open(frame) as picture:
                writer.send(picture.convert("RGB").tobytes())
        writer.close()
    return True
