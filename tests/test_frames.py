"""Raw frames with strange headers, judged one by one as `inventory` judges them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from astropy.io import fits

from scripts import inventory
from scripts.inventory import examine, name_sequences, take_inventory
from scripts.lib.frames.frame import open_header
from scripts.lib.frames.names import LONGEST, cube_name
from scripts.lib.headers.keywords import Card, compose
from scripts.lib.headers.observatory import load_exposure
from scripts.lib.ledger.faults import Reason
from scripts.lib.ledger.records import Frame, Night, Status
from scripts.lib.sources.local import open_folder
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.raw import rewrite
from tests.records import configuration, ingested, observatory_of

SIZE = (8, 10)


class Judged:
    """A night's raw frames, and what the inventory says of them."""

    def __init__(self, root: Path, truth: list[dict], telescope: str = "Callisto"):
        self.raw = root / NIGHT
        self.names = [row["file"] for row in truth]
        self.science = next(row["file"] for row in truth if row["kind"] == "science")
        self.bias = next(row["file"] for row in truth if row["kind"] == "bias")
        self.source = open_folder(str(root))
        camera = {"name": "SPIRIT", "naxis1": SIZE[0], "naxis2": SIZE[1], "pixel_scale": 0.309}
        settings = configuration(telescope, programme="60.A-9009(D)", camera=camera)
        self.observatory = observatory_of(settings, NIGHT)

    def frames(self) -> dict[str, Frame]:
        """Return all frames as the inventory leaves them, by file."""
        known = ingested(self.source, NIGHT, self.raw)
        night = Night(NIGHT)
        changed = take_inventory(self.raw, known, [], night, self.observatory, True, "")
        return {frame.file: frame for frame in known} | {frame.file: frame for frame in changed}

    def statuses(self) -> set[Status]:
        return {frame.status for frame in self.frames().values()}

    def examined(self, name: str) -> inventory.Judged:
        """Return one good frame, and what its header says."""
        known = {frame.file: frame for frame in ingested(self.source, NIGHT, self.raw)}
        return examine(self.raw, known[name], self.observatory)

    def composed(self, name: str, left_out: list[str] | None = None) -> list[Card]:
        """Return the finished header of one frame."""
        exposure = load_exposure(self.raw, name, self.observatory)
        return compose(exposure, self.observatory.keywords, left_out=left_out)

    def reason(self, name: str) -> str:
        """Return why one frame is held back; fail unless all others are good."""
        frames = self.frames().values()
        held = {f.file: str(f.fault) for f in frames if f.status is not Status.ASSIGNED}
        assert held.keys() == {name}, held
        return held[name]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A night's folder that nobody changes, and its truth."""
    root = tmp_path_factory.mktemp("simulated")
    return root, simulate("Callisto", NIGHT, root, frames=14, size=SIZE)


@pytest.fixture
def judged(simulated, tmp_path):
    root, truth = simulated
    shutil.copytree(root / NIGHT, tmp_path / NIGHT)
    return Judged(tmp_path, truth)


def test_all_frames_of_a_good_night_are_good(judged):
    assert judged.statuses() == {Status.ASSIGNED}


# None of these may affect another frame of the night.
STRANGE = {
    "a date that is none": ("JD-OBS", "JD-OBS  =                  1,5"),
    "a sum that is none": ("DATASUM", "DATASUM = 1,5"),
    "a sum without its quote": ("DATASUM", "DATASUM = '123"),
    "exposure time nan": ("EXPTIME", "EXPTIME = 'nan     '"),
    "exposure time infinite": ("EXPTIME", "EXPTIME = 'inf     '"),
    "exposure time of a geological age": ("EXPTIME", "EXPTIME =              1.0E+300"),
    "exposure time negative": ("EXPTIME", "EXPTIME =                -10.0"),
    "heliocentric date a word": ("HJD-OBS", "HJD-OBS = 'unknown '"),
    "heliocentric date nan in quotes": ("HJD-OBS", "HJD-OBS = 'nan     '"),
    "binning a word": ("XBINNING", "XBINNING= 'one     '"),
    "binning without its value": ("XBINNING", "XBINNING= 1 2"),
    "binning nan in quotes": ("XBINNING", "XBINNING= 'nan     '"),
    "binning zero": ("XBINNING", "XBINNING=                    0", "binning 0x1"),
    "binning half": ("XBINNING", "XBINNING=                  1.5"),
    "subframe a word": ("XORGSUBF", "XORGSUBF= 'left    '"),
    "purpose without its quote": ("ASTRATYP", "ASTRATYP= 'object"),
    "camera without its quote": ("INSTRUME", "INSTRUME= 'SPIRIT"),
    "size a word": ("NAXIS1", "NAXIS1  = 'wide    '"),
    "size negative": ("NAXIS1", "NAXIS1  =                   -8", "NAXIS1|size|bytes after"),
    "bits a word": ("BITPIX", "BITPIX  = 'many    '"),
    "bits of floats": ("BITPIX", "BITPIX  =                  -32"),
    "right ascension a word": ("RA", "RA      = 'east    '"),
    "right ascension nan in quotes": ("RA", "RA      = 'nan     '"),
    "declination out of range": ("DEC", "DEC     =                 90.5"),
    "filter empty": ("FILTER", "FILTER  = '        '"),
    "date with a blank": ("DATE-OBS", "DATE-OBS= '2026-03-06 00:01:23.540'"),
    "date of 30 February": ("DATE-OBS", "DATE-OBS= '2026-02-30T00:01:23.540'"),
    "date with a leap second": ("DATE-OBS", "DATE-OBS= '2026-03-05T23:59:60.540'"),
    "date a number": ("DATE-OBS", "DATE-OBS=              61105.0"),
    "target empty": ("OBJECT", "OBJECT  = '        '"),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_an_unusable_card_holds_back_its_own_frame_only(judged, strange):
    keyword, image, *reason = STRANGE[strange]
    rewrite(judged.raw / judged.science, {keyword: image})
    assert re.search(reason[0] if reason else keyword, judged.reason(judged.science))


# Not a value of its keyword: the frame is delivered without it.
LEFT_OUT = {
    "AIRMASS": ["nan", "Infinity", "'low     '", "'nan     '", "0.0", "-38.2", "0.5", "T"],
    "BJD-OBS": ["'unknown '", "NaN"],
    "HUMIDITY": ["'N/A     '", "N/A", "NAN", "'45,2    '", "45,2", "'inf     '", "T", "12 percent"],
    "DEWPOINT": ["'wet     '", "-nan", "1E999", "1.0E+300"],
    "PIERSIDE": ["'left    '", "'NAN     '"],
    "DOMESTAT": ["'ajar    '", "ajar"],
    "TELPARK": ["'maybe   '"],
    "XPIXSZ2": ["NAN", "1,5", "1.5 2.5", "(1.0, 2.0)", "text", "'no end", "0x10", "true"],
    "DATAMAX": ["'65535   '", "NAN", "T"],
    "AUTHOR": ["12", "NAN"],
    "EXTNAME": ["'CHIP1   '"],
    "TBCOL1": ["1"],
    "lower": ["1"],
}


@pytest.mark.parametrize(
    ("keyword", "text"), [(keyword, text) for keyword in LEFT_OUT for text in LEFT_OUT[keyword]]
)
def test_what_is_optional_is_left_out_and_said(judged, keyword, text):
    rewrite(judged.raw / judged.science, {keyword: f"{keyword:<8}= {text:>20}"})
    assert judged.statuses() == {Status.ASSIGNED}
    left_out: list[str] = []
    entries = judged.composed(judged.science, left_out)
    assert keyword not in {entry.keyword for entry in entries}
    assert [what.partition(":")[0] for what in left_out] == [keyword]
    for python in ("could not convert", "NoneType", "None", "True", "ValueError"):
        assert python not in left_out[0]


def test_a_card_without_its_equals_sign_is_quoted(judged):
    rewrite(judged.raw / judged.science, {"HUMIDITY": "HUMIDITY=4.28", "DUSTA": "DUSTA   =NAN"})
    left_out: list[str] = []
    judged.composed(judged.science, left_out)
    assert left_out == [
        f"{card[:8].strip()}: the card {card!r} does not have '= ' in columns 9 and 10"
        for card in ("HUMIDITY=4.28", "DUSTA   =NAN")
    ]


WRITTEN = [
    ("PIERSIDE", "'EAST    '", "0"),
    ("PIERSIDE", "'pierWest'", "1"),
    ("PIERSIDE", "-0.6", "-1"),
    ("DOMESTAT", "'open    '", "0"),
    ("DOMESTAT", "'Closed  '", "1"),
    ("TRACKING", "0.987654321", "1"),
    ("TRACKING", "0.2", "0"),
    ("TRACKING", "T", "1"),
    ("SLEWING", "'false   '", "0"),
    ("CAM-STAT", "'idle    '", "0"),
    ("HUMIDITY", "'45.25   '", "45.250"),
    ("HUMIDITY", "4.5d+01", "45.000"),
    ("READNOIS", "1.5e-03", "1.5E-03"),
    ("READNOIS", "1.5d-03", "1.5D-03"),
    ("READNOIS", "-2e5", "-2E5"),
    ("DATAMAX", "6.5e4", "6.5E4"),
]


@pytest.mark.parametrize(("keyword", "text", "written"), WRITTEN)
def test_what_is_plain_is_written_as_fits_has_it(judged, keyword, text, written):
    rewrite(judged.raw / judged.science, {keyword: f"{keyword:<8}= {text:>20} / of Astra"})
    left_out: list[str] = []
    entries = judged.composed(judged.science, left_out)
    images = {entry.keyword: entry.image.decode() for entry in entries}
    assert images[keyword].startswith(f"{keyword:<8}= {written:>20} / ") and not left_out


def test_unwritable_cards_are_left_out_and_the_rest_kept(judged):
    """Continued texts are cut to one card; foreign and repeated keywords and names go."""
    path = judged.raw / judged.science
    odd = {
        "LONGTEXT": ["LONGTEXT= 'one part, &'", "CONTINUE  'and another'"],
        "TWICE": ["TWICE   =                    1", "TWICE   =                    2"],
        "lower": "lower   =                    1",
        "HIERARCH": "HIERARCH OTHER OBS TEXT = 'foreign'",
        "EXTNAME": "EXTNAME = 'CHIP1   '",
        "FILENAME": "FILENAME= 'x.fits  '",
        "DATE-AVG": "DATE-AVG= '05/03/26'",
        "TTYPE1": "TTYPE1  = 'column  '",
        "KEPT": "KEPT    =                 1.50 / a comment of its own",
        "HISTORY": "HISTORY written by hand",
    }
    rewrite(path, odd)
    assert judged.statuses() == {Status.ASSIGNED}
    entries = judged.composed(path.name)
    found = {entry.keyword: entry for entry in entries}
    assert found["LONGTEXT"].value == "one part, and another"
    assert found["TWICE"].value == 1
    assert sum(entry.keyword == "TWICE" for entry in entries) == 1
    assert found["KEPT"].image.decode().rstrip() == odd["KEPT"]
    assert found["HISTORY"].image.decode().rstrip() == odd["HISTORY"]
    gone = {"lower", "LOWER", "EXTNAME", "CONTINUE", "FILENAME", "DATE-AVG", "TTYPE1"}
    assert not gone & found.keys()
    assert not any("OTHER" in keyword for keyword in found)


def test_a_header_of_too_many_cards_is_held_back(judged):
    many = {f"K{number}": f"K{number:<7}=                    1" for number in range(400)}
    rewrite(judged.raw / judged.science, many)
    assert "cards, more than 400" in judged.reason(judged.science)


def test_a_bias_has_no_exposure_time(judged):
    rewrite(judged.raw / judged.bias, {"EXPTIME": "EXPTIME =                  0.5"})
    assert judged.reason(judged.bias) == "EXPTIME out of range: 0.5 s, not 0, of a bias"


@pytest.mark.parametrize("words", ["FLAT", "Flat Field", "flat"])
def test_older_words_for_flats(judged, words):
    before = next(frame for frame in judged.frames().values() if frame.kind == "flat")
    rewrite(judged.raw / before.file, {"IMAGETYP": f"IMAGETYP= '{words:<8}'"})
    after = judged.frames()[before.file]
    assert after == replace(before, source=after.source) != before


@pytest.mark.parametrize("telescop", ["Callisto", "Astra->CALLISTO", "SPECULOOS-CALLISTO"])
def test_older_names_of_the_telescope(judged, telescop):
    rewrite(judged.raw / judged.science, {"TELESCOP": f"TELESCOP= '{telescop}'"})
    assert judged.statuses() == {Status.ASSIGNED}


@pytest.mark.parametrize("telescop", ["Io", "Callistos", "Astra->IO"])
def test_other_telescopes_are_held_back(judged, telescop):
    rewrite(judged.raw / judged.science, {"TELESCOP": f"TELESCOP= '{telescop}'"})
    assert "wrong telescope" in judged.reason(judged.science)


def test_every_file_has_one_row_whatever_its_name(judged):
    content = (judged.raw / judged.science).read_bytes()
    (judged.raw / judged.science).unlink()
    for name in ("#1.fits", "a b, c.fits", 'quo"te.FITS', "two\nlines.fts"):
        (judged.raw / name).write_bytes(content)
    assert len(judged.frames()) == len(judged.names) - 1 + 4


def test_targets_of_the_same_safe_name_are_two_sequences(judged):
    named = {frame.object for frame in judged.frames().values()}
    assert "TIC 46432937 b" in named
    rewrite(judged.raw / judged.science, {"OBJECT": "OBJECT  = 'TIC_46432937_b'"})
    frames = judged.frames()
    mine = frames[judged.science]
    other = next(frame for frame in frames.values() if frame.object == "TIC 46432937 b")
    assert mine.sequence != other.sequence and mine.product != other.product


def test_no_product_name_is_too_long_of_targets_of_one_safe_name(judged):
    for file, blank in zip(judged.names[-2:], " _", strict=True):
        rewrite(judged.raw / file, {"OBJECT": f"OBJECT  = '{'long' * 12}{blank}name'"})
    frames = judged.frames().values()
    products = {frame.product for frame in frames if frame.object.startswith("long")}
    assert len(products) == 2
    assert max(map(len, products)) <= LONGEST


@pytest.mark.parametrize("part", [2, 12])
def test_no_product_name_of_a_further_part_is_too_long(judged, part):
    rewrite(judged.raw / judged.science, {"OBJECT": f"OBJECT  = '{'long' * 17}'"})
    sequence = judged.frames()[judged.science].sequence
    taken = {sequence} | {f"{sequence}_part{i}" for i in range(2, part)}
    one = judged.examined(judged.science)
    key = one.frame.key
    named = name_sequences([one], {key: one.frame}, taken, judged.observatory)
    assert named[key] == f"{sequence}_part{part}"
    assert len(cube_name(4, one.facts.date_obs, named[key])) <= LONGEST


def test_frames_of_unlike_read_out_are_unlike_sequences(judged):
    plain = judged.frames()[judged.science]
    rewrite(judged.raw / judged.science, {"INSTRUME": "INSTRUME= 'Andor   '"})
    assert judged.frames()[judged.science].sequence == f"{plain.sequence}_Andor"


def test_sequences_are_those_of_their_keywords(judged):
    for frame in judged.frames().values():
        header = fits.getheader(judged.raw / frame.file)
        assert frame.exptime == header["EXPTIME"]
        if frame.kind == "bias":
            assert frame.sequence == "C_bias"
        else:
            assert frame.sequence.endswith(f"_{header['EXPTIME']:g}s")
        assert re.fullmatch(
            r"SPECU4\.\d{8}T\d{6}_" + re.escape(frame.sequence) + r"\.fits", frame.product
        )


# Faults of the file


def test_a_header_changed_after_its_sum_is_held_back(judged):
    path = judged.raw / judged.science
    rewrite(path, {"OBSERVER": "OBSERVER= 'nobody  '"}, checksum=False)
    assert judged.reason(judged.science).startswith("wrong CHECKSUM: ")
    rewrite(path, {"OBSERVER": "OBSERVER= 'nobody  '"})
    assert judged.statuses() == {Status.ASSIGNED}


def test_any_other_fault_comes_before_that_of_the_sum(judged):
    rewrite(judged.raw / judged.science, {"FILTER": None}, checksum=False)
    assert judged.reason(judged.science) == "no FILTER"


@pytest.mark.parametrize("image", ["CHECKSUM= ''", "CHECKSUM=", None])
def test_a_header_without_a_sum_is_good(judged, image):
    rewrite(judged.raw / judged.science, {"CHECKSUM": image})
    assert judged.statuses() == {Status.ASSIGNED}


def test_what_cannot_be_read_gets_its_reason(judged):
    one = judged.examined(judged.science).frame
    for content, reason in ((b"", Reason.EMPTY), (b"<html>" * 500, Reason.NO_HEADER)):
        (judged.raw / one.file).write_bytes(content)
        assert judged.frames()[one.file].fault.reason is reason
    with pytest.raises(inventory.BadFrame) as error:
        open_header(judged.raw / "none.fits")
    assert error.value.fault.reason is Reason.GONE
