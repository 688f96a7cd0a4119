"""Statistics of pixels, taken while a frame is copied."""

import numpy as np
import pytest
from astropy.io import fits

from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Measures, Status
from scripts.lib.sources.copying import SAMPLED, Sample, sums_of
from scripts.lib.sources.opening import open_folder
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.records import configuration


def header_of(columns: int, rows: int) -> bytes:
    return b"NAXIS1  = %20d / columns".ljust(80) % columns + b"NAXIS2  = %20d /".ljust(80) % rows


def stored(pixels: np.ndarray) -> memoryview:
    return memoryview((pixels.astype(int) - 32768).astype(">i2").tobytes() + b"\0" * 1440)


def measures_of(header: bytes, data: memoryview) -> Measures | None:
    """Return the statistics of a frame whose data come in pieces."""
    sample = Sample(header)
    for begin in range(0, len(data), 2880):
        sample.add(data[begin : begin + 2880])
    return sample.measures()


def test_a_sample_has_the_statistics_of_all_pixels():
    pixels = np.random.default_rng(1).normal(600, 20, (1280, 1024)).clip(0, 65535)
    pixels[:64] = 65535
    found = measures_of(header_of(1024, 1280), stored(pixels))
    assert found.median == pytest.approx(np.median(pixels), abs=2)
    assert found.sigma == pytest.approx(20, rel=0.15)
    assert found.p1 == pytest.approx(np.percentile(pixels, 1), abs=4)
    assert (found.p99, found.saturated) == (65535, pytest.approx(0.05, abs=3 / SAMPLED**0.5))


def test_every_pixel_of_a_small_frame_counts():
    found = measures_of(header_of(2, 2), stored(np.array([[0, 1], [2, 65535]])))
    assert (found.p1, found.median, found.saturated) == (0, 1, 0.25)


@pytest.mark.parametrize("header", [b"", b"NAXIS1  = 4 / NAXIS2  = 0 /", header_of(4000, 4000)])
def test_an_incomplete_frame_has_no_statistics(header):
    assert measures_of(header, stored(np.zeros((2, 2)))) is None


def test_ingest_records_the_statistics_of_each_frame(tmp_path):
    from scripts.ingest import copy_night

    truth = simulate("Callisto", NIGHT, tmp_path, 14, (64, 80))
    raw, settings = tmp_path / "raw", configuration("Callisto")
    with Ledger(":memory:") as ledger:
        copy_night(open_folder(str(tmp_path)), NIGHT, raw, ledger, settings)
        frames, found = ledger.frames(NIGHT), ledger.measures(NIGHT)
    assert {frame.status for frame in frames} == {Status.COPIED}
    assert found.keys() == {frame.key for frame in frames} and len(found) == len(truth)
    for frame in frames:
        pixels = fits.getdata(raw / frame.file)
        assert found[frame.key].median == pytest.approx(np.median(pixels), abs=1)
        assert sums_of(raw / frame.file).measures == found[frame.key]
