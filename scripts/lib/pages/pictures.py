"""What only the pixels show, while the raw frames are here: thumbnails, and the read noise."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from scripts.lib.files.durable import whole_file
from scripts.lib.files.log import logger
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Frame

FOLDER = "thumbnails"
LONGEST_SIDE = 110  # pixels
QUALITY = 60
# Percentiles that become black and white, and how much the faint end is lifted between them.
BLACK, WHITE, LIFT = 10, 99.7, 8.0


def read_noise_note(night: str) -> str:
    """Return the name of the ledger's note that has the read noise of a night, ADU."""
    return f"read noise {night}"


def look_at_raw(ledger: Ledger, folder: Path, grouped: Mapping[str, list[Frame]]) -> None:
    """Make the thumbnails of a night that are missing and measure its read noise.

    What cannot be read is left out: a missing picture does not fail the night.
    """
    raw, night = folder / "raw", folder.name
    if not raw.is_dir():
        return
    biases = next((m for m in grouped.values() if m[0].kind == "bias" and len(m) > 1), [])
    if biases and not ledger.text(read_noise_note(night)):
        try:
            noise = read_noise(*(pixels_of(raw, frame) for frame in biases[:2]))
            ledger.note(read_noise_note(night), f"{noise:.2f}")
        except (OSError, ValueError):
            logger.warning("no read noise: %s cannot be read whole", biases[0].sequence)
    pictures = list(wanted(grouped))
    for stale in {path.name for path in (folder / FOLDER).glob("*.jpg")} - {p[0] for p in pictures}:
        (folder / FOLDER / stale).unlink()
    for name, frame, dark in pictures:
        path = folder / FOLDER / name
        if path.exists() or not (raw / frame.file).exists():
            continue
        try:
            image = binned(pixels_of(raw, frame))
            if dark and (raw / dark.file).exists():
                image -= binned(pixels_of(raw, dark))
            content = jpeg(image)
        except (OSError, ValueError):
            logger.warning("%s: no thumbnail: it cannot be read whole", frame.file)
            continue
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as stream:
            stream.write(content)


def wanted(grouped: Mapping[str, list[Frame]]) -> Iterator[tuple[str, Frame, Frame | None]]:
    """Yield file name, frame and dark of each thumbnail: three of a science sequence, else one.

    Of flats, whose exposure times differ, one for each filter.
    """
    darks = [members[0] for members in grouped.values() if members[0].kind == "dark"]
    filters = set()
    for name, members in grouped.items():
        chosen = {len(members) // 2}
        if members[0].kind == "flat":
            if members[0].filter in filters:
                continue
            filters.add(members[0].filter)
        if members[0].kind == "science":
            chosen = {0, len(members) // 2, len(members) - 1}
        for number in sorted(chosen):
            frame = members[number]
            alike = [d for d in darks if d.shape == frame.shape and frame.kind == "science"]
            dark = min(alike, key=lambda d: abs(d.exptime - frame.exptime), default=None)
            yield f"{name}_{number:05d}.jpg", frame, dark


def pixels_of(raw: Path, frame: Frame) -> np.ndarray:
    """Return the pixels of a raw frame, ADU, shape (rows, columns)."""
    with open(raw / frame.file, "rb") as stream:
        stream.seek(frame.data_start)
        pixels = np.frombuffer(stream.read(frame.pixel_bytes), ">i2").reshape(frame.shape)
    return pixels.astype(np.float32) + 32768


def read_noise(first: np.ndarray, second: np.ndarray) -> float:
    """Return the read noise, ADU, from two biases: their difference has twice its variance."""
    low, high = np.percentile(first - second, (15.87, 84.13))
    return float(high - low) / 2 / 2**0.5


def binned(pixels: np.ndarray) -> np.ndarray:
    """Return an image of at most `LONGEST_SIDE`, the mean of blocks of pixels."""
    size = -(-max(pixels.shape) // LONGEST_SIDE)
    rows, columns = (length // size for length in pixels.shape)
    blocks = pixels[: rows * size, : columns * size].reshape(rows, size, columns, size)
    image: np.ndarray = blocks.mean(axis=(1, 3))
    return image


def jpeg(image: np.ndarray) -> bytes:
    """Return a picture with a stretch that shows faint stars, the first row at the bottom."""
    from PIL import Image

    black, white = np.percentile(image, (BLACK, WHITE))
    share = np.clip((image - black) / max(white - black, 1e-6), 0, 1)
    grey = 255 * np.arcsinh(LIFT * share) / np.arcsinh(LIFT)
    stream = io.BytesIO()
    Image.fromarray(np.flipud(grey).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
