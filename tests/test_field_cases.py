"""Inputs that once spoiled more than themselves: each fails alone, with its reason."""

import gzip
import os
import stat

import pytest
from astropy.io import fits

from scripts.lib.fits.checksum import data_sum
from tests.night import NIGHT, Night
from tests.raw import BLOCK, joined, rewrite, split, with_checksum


def with_fill(content: bytes, size: int) -> bytes:
    """Return a raw file with blanks behind its pixels, and a DATASUM of all data, as some have."""
    cards, data = split(content)
    data = data[:size] + b" " * (len(data) - size)
    cards = [
        f"DATASUM = '{data_sum(data):<10}'" if card.startswith("DATASUM") else card
        for card in cards
    ]
    return with_checksum(joined(cards, data))


@pytest.fixture
def odd(io) -> tuple[Night, dict[str, dict], dict[str, str]]:
    """A night with every odd entry, the truth of the frames it shall deliver, and the reasons."""
    truth = {row["file"]: row for row in io.simulate(frames=40)}
    folder = io.source / NIGHT
    science = [name for name, row in truth.items() if row["kind"] == "science"]
    fill, blank, flipped, card, moved, long, optional = science[:7]
    pixels = 2 * 64 * 80
    rewrite(folder / fill, lambda content: with_fill(content, pixels))
    rewrite(folder / blank, {"DATASUM": "DATASUM = '          '", "CHECKSUM": None})
    content = bytearray((folder / flipped).read_bytes())
    content[content.index(b"HUMIDITY=") + 12] ^= 1
    (folder / flipped).write_bytes(content)
    rewrite(folder / card, {"DEC": "DEC     =4.28"})
    rewrite(folder / optional, {"HUMIDITY": "HUMIDITY= 'N/A'", "DATAMAX": "DATAMAX = '65535'"})
    (folder / "Io_I+z_TOI-540").mkdir()
    (folder / moved).rename(folder / "Io_I+z_TOI-540/B_10.000.fits")
    (folder / long).rename(folder / f"{'n' * 245}.fits")
    (folder / "a.fits.gz").write_bytes(gzip.compress(b"frame"))
    os.mkfifo(folder / "pipe.fits")
    (folder / "loop.fits").symlink_to("loop.fits")
    (folder / "nowhere.fits").symlink_to("gone.fits")
    (folder / "folder.fits").mkdir()
    (folder / "esc\x1b[31m.fits").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    with open(folder / "sparse.fits", "wb") as stream:
        stream.truncate(15 << 40)
    reasons = {
        flipped: "wrong CHECKSUM: ",
        card: r"unreadable DEC: the card 'DEC     =4.28'",
        "a.fits.gz": "compressed",
        "pipe.fits": "not a regular file: named pipe",
        "loop.fits": "not a regular file: link",
        "nowhere.fits": "not a regular file: link",
        "folder.fits": "not a regular file: a folder",
        r"esc\x1b[31m.fits": "file name that cannot be used: control character",
        "Thumbs.db": "not a frame",
        "sparse.fits": "larger than a frame of this camera: ",
    }
    return io, {name: row for name, row in truth.items() if name not in (flipped, card)}, reasons


def test_every_odd_entry_is_held_back_alone(odd):
    night, truth, reasons = odd
    before = os.umask(0o077)
    try:
        night.run(max_held=0.9)
    finally:
        os.umask(before)
    found = {row["file"]: row["reason"] for row in night.frames() if row["status"] == "held"}
    assert found.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert found[name].startswith(reason), name
    night.assert_delivered_once(list(truth.values()))
    for path in night.products():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        with fits.open(path, checksum=True) as hdus:
            assert hdus[0].verify_checksum() == 1 and hdus[0].verify_datasum() == 1
            size = hdus[0].header["NAXIS1"] * hdus[0].header["NAXIS2"] * 2
        fill = path.read_bytes()[-(-size % BLOCK) :]
        assert not any(fill), "the fill of a product is zero"
    verdicts = {row["verdict"] for row in night.receipts()} - {"passed"}
    assert verdicts == {
        "passed; left out: HUMIDITY: 'N/A' is not a number; "
        "left out: DATAMAX: '65535' is not a number (FITS 4.4.2.5)"
    }
    assert "left out: HUMIDITY" in (night.folder / "summary.txt").read_text()
    for page in (night.page(), night.folder / "summary.txt"):
        assert "\x1b" not in page.read_text()


def test_a_night_with_all_frames_in_a_sub_folder(callisto):
    truth = callisto.simulate()
    folder = callisto.source / NIGHT
    (folder / "target/B").mkdir(parents=True)
    for row in truth:
        (folder / row["file"]).rename(folder / "target/B" / row["file"])
    callisto.run()
    callisto.assert_delivered_once(truth)
    assert all(row["file"].startswith("target/B/") for row in callisto.frames())


def test_a_hash_sign_in_a_setting_is_refused(callisto):
    output = callisto.run(status=1, pi_coi="D. Queloz #2")
    assert "pi_coi=D. Queloz #2" in output and "#" in output


def test_rights_of_products_can_be_set(io):
    io.simulate()
    io.run(mode="0640")
    assert {stat.S_IMODE(path.stat().st_mode) for path in io.products()} == {0o640}
