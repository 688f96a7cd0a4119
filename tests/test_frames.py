"""Raw frames with strange headers, judged one by one as `inventory` judges them."""

import re
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from astropy.io import fits

from scripts import inventory
from scripts.inventory import examine, name_sequences, take_inventory
from scripts.lib.fits.cards import Header, card
from scripts.lib.frames.corrections import Correction
from scripts.lib.frames.frame import open_header, setting_of
from scripts.lib.frames.names import LONGEST, cube_name
from scripts.lib.headers.keywords import Card, compose
from scripts.lib.headers.observatory import load_exposure
from scripts.lib.ledger.faults import Reason
from scripts.lib.ledger.records import Frame, Night, Status
from scripts.lib.nights.times import mean_sidereal, mjd
from scripts.lib.settings.records import Camera
from scripts.lib.settings.telescopes import telescopes
from scripts.lib.sources.opening import open_folder
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.raw import BLOCK, joined, rewrite, split, with_cards
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
    assert len(cube_name(telescopes()["Callisto"], one.facts.date_obs, named[key])) <= LONGEST


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


# What a header says twice. The science frame is one of 10 s, which begins at 00:00:10.999999.

CONTRADICTIONS = {
    "date 4 minutes late": ({"DATE-OBS": 240.0}, "DATE-OBS and MJD-OBS", "240.000 s apart"),
    "date 2 seconds early": ({"DATE-OBS": -2.0}, "DATE-OBS and MJD-OBS", "2.000 s apart"),
    "date of an hour before": ({"DATE-OBS": -3600.0}, "DATE-OBS and MJD-OBS", "3600"),
    "mjd of the end": ({"MJD-OBS": 10.0}, "DATE-OBS and MJD-OBS", "10.000 s apart"),
    "mjd by 50 ms": ({"MJD-OBS": 0.05}, "DATE-OBS and MJD-OBS", "0.050 s apart"),
    "jd of the next day": ({"JD-OBS": 86400.0}, "DATE-OBS and JD-OBS", "86400.000 s apart"),
    "end a minute late": ({"DATE-END": 60.0}, "DATE-OBS and EXPTIME and DATE-END", "60.000 s"),
    "end is the start": ({"MJD-END": -10.0}, "DATE-OBS and EXPTIME and MJD-END", "10.000 s"),
    "jd of the end": ({"JD-END": 5.0}, "DATE-OBS and EXPTIME and JD-END", "5.000 s apart"),
}
DAYS = {"MJD-OBS": 0, "JD-OBS": 2400000.5, "MJD-END": 0, "JD-END": 2400000.5}


def moved(path: Path, keyword: str, seconds: float) -> dict[str, str]:
    """Return a card of a raw frame whose time is some seconds later."""
    value = fits.getheader(path)[keyword]
    if keyword in DAYS:
        return {keyword: f"{keyword:<8}= {value + seconds / 86400!r:>20}"}
    time = datetime.fromisoformat(value) + timedelta(seconds=seconds)
    return {keyword: f"{keyword:<8}= '{time.isoformat()}'"}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_times_that_contradict_each_other_hold_a_frame_back(judged, case):
    changes, subject, words = CONTRADICTIONS[case]
    path = judged.raw / judged.science
    for keyword, seconds in changes.items():
        rewrite(path, moved(path, keyword, seconds))
    reason = judged.reason(judged.science)
    assert reason.startswith(f"contradiction of {subject}: ") and re.search(words, reason), reason


def test_a_wrong_exposure_time_contradicts_the_end(judged):
    rewrite(judged.raw / judged.science, {"EXPTIME": "EXPTIME =                 30.0"})
    assert "EXPTIME" in judged.reason(judged.science)


ROUNDED = [
    {"MJD-OBS": "61105.00013"},
    {"MJD-OBS": "61105.0001273"},
    {"JD-OBS": "2461105.50013"},
    {"DATE-OBS": "'2026-03-06T00:00:11'"},
    {"DATE-OBS": "'2026-03-06T00:00:10.9'", "DATE-END": "'2026-03-06T00:00:21.0'"},
    {"DATE-END": "'2026-03-06T00:00:20'"},
    {"MJD-END": None, "JD-END": None, "DATE-END": None, "LST": None},
    {"DATE-END": "'soon    '", "MJD-END": "NAN", "LST": "'06:13:30'", "AZIMUTH": "'N/A     '"},
    {"ALTITUDE": "'N/A     '", "LST": "NAN"},
    {"TIMESYS": None},
    {"TIMESYS": "'utc     '"},
    {"TIMESYS": "'UTC(NTP)'"},
]


@pytest.mark.parametrize("values", ROUNDED)
def test_rounding_and_what_is_not_there_contradict_nothing(judged, values):
    cards = {k: v and f"{k:<8}= {v:>20}" for k, v in values.items()}
    rewrite(judged.raw / judged.science, cards)
    assert judged.statuses() == {Status.ASSIGNED}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((f"'{name:<8}'", name) for name in ("TAI", "LOCAL", "TT", "UT1", "GPS", "TDB")),
        ("5", "5"),
        ("T", "T"),
        ("TAI", "TAI"),
    ],
)
def test_times_that_are_not_utc_hold_a_frame_back(judged, text, shown):
    rewrite(judged.raw / judged.science, {"TIMESYS": f"TIMESYS = {text}"})
    reason = judged.reason(judged.science)
    assert "TIMESYS" in reason and shown in reason


POINTINGS = {
    "hours for degrees": ("RA", 8.0867),
    "5 degrees east": ("RA", 126.3),
    "the other hemisphere": ("DEC", -4.28),
    "2 degrees south": ("DEC", 2.28),
    "an altitude of another target": ("ALTITUDE", 20.0),
    "south over west": ("AZIMUTH", None),
}


@pytest.mark.parametrize("case", POINTINGS)
def test_a_pointing_that_contradicts_itself_holds_a_frame_back(judged, case):
    keyword, value = POINTINGS[case]
    path = judged.raw / judged.science
    value = (fits.getheader(path)["AZIMUTH"] + 180) % 360 if value is None else value
    rewrite(path, {keyword: f"{keyword:<8}= {value:>20}"})
    reason = judged.reason(judged.science)
    assert reason.startswith("contradiction of RA, DEC and ALTITUDE: RA ") and "apart" in reason


@pytest.mark.parametrize(
    ("keyword", "change"), [("LST", 3600.0), ("LST", -60), ("LONG-OBS", 140.78)]
)
def test_a_sidereal_time_of_another_place_holds_a_frame_back(judged, keyword, change):
    value = fits.getheader(judged.raw / judged.science)[keyword] + change
    rewrite(judged.raw / judged.science, {keyword: f"{keyword:<8}= {value:>20}"})
    assert judged.reason(judged.science).startswith("contradiction of LST and DATE-OBS: LST ")


def test_a_telescope_below_the_horizon_has_no_airmass(judged):
    rewrite(judged.raw / judged.science, {"ALTITUDE": "ALTITUDE=                 -5.0"})
    assert judged.statuses() == {Status.ASSIGNED}
    left_out: list[str] = []
    entries = judged.composed(judged.science, left_out)
    assert "AIRMASS" not in {entry.keyword for entry in entries}
    assert len(left_out) == 1 and "below the horizon" in left_out[0]


# Astra as it is now


@pytest.mark.parametrize("imagetyp", ["'Light Frame'", "'Unknown Frame'", "'Flat Frame'", None])
@pytest.mark.parametrize(
    "purpose", ["pointing_model", "POINTING", "autofocus", "calibrate_guiding", "cool_camera"]
)
def test_exposures_that_set_up_the_telescope_are_no_fault(judged, purpose, imagetyp):
    cards = {"ASTRATYP": f"ASTRATYP= '{purpose}'", "FILTER": None, "TIMESYS": "TIMESYS = 'TAI'"}
    cards["IMAGETYP"] = imagetyp and f"IMAGETYP= {imagetyp}"
    rewrite(judged.raw / judged.science, cards)
    reason = judged.reason(judged.science)
    assert reason == f"engineering exposure: ASTRATYP is {purpose.lower()}"
    assert judged.frames()[judged.science].fault.expected


def night_of(judged: Judged, start: str) -> str:
    """Move a bias, and all that its header says of times, and return what becomes of it."""
    begin, path = datetime.fromisoformat(f"{start}+00:00"), judged.raw / judged.bias
    sidereal = mean_sidereal(begin, -70.390278)
    days = {key: mjd(begin) + zero for key, zero in DAYS.items()}
    values = days | {"LST": sidereal, "HJD-OBS": days["JD-OBS"], "BJD-OBS": days["JD-OBS"]}
    cards = {key: f"{key:<8}= {value!r:>20}" for key, value in values.items()}
    dates = {key: f"{key:<8}= '{start}'" for key in ("DATE-OBS", "DATE-END")}
    rewrite(path, cards | dates)
    frame = judged.frames()[judged.bias]
    return str(frame.fault or frame.status)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("2026-03-05T14:59:59.999", "DATE-OBS outside the night: "),
        ("2026-03-05T15:00:00.000", "assigned"),
        ("2026-03-06T14:59:59.999", "assigned"),
        ("2026-03-06T15:00:10.123", "assigned"),
        ("2026-03-06T15:30:00.000", "assigned"),
        ("2026-03-06T16:41:30.000", "assigned"),
        ("2026-03-06T17:10:00.000", "assigned"),  # of an action that began before noon
        ("2026-03-06T18:41:34.000", "DATE-OBS outside the night: "),
        ("2026-03-06T21:30:00.000", "DATE-OBS outside the night: "),
    ],
)
def test_a_night_ends_with_what_was_begun_before_noon(judged, start, said):
    assert night_of(judged, start).startswith(said)


SIZES = {
    "full": ((1, 1), (0, 0), (8, 10), None),
    "at the corner": ((1, 1), (0, 0), (4, 5), (0, 0)),
    "a strip at the corner": ((1, 1), (0, 0), (8, 5), (0, 0)),
    "in the middle": ((1, 1), (2, 3), (4, 5), (2, 3)),
    "binned": ((2, 2), (0, 0), (4, 5), None),
    "binned, binned origin": ((2, 2), (1, 2), (2, 3), (1, 2)),
    "binned, unbinned origin": ((2, 2), (4, 4), (2, 3), (2, 2)),
    "binned unlike, unbinned origin": ((2, 1), (6, 4), (1, 6), (3, 4)),
}


@pytest.mark.parametrize("case", SIZES)
def test_subframes_have_their_origin_in_binned_pixels(judged, case):
    binning, origin, size, right = SIZES[case]
    frame = judged.examined(judged.science).frame
    assert resized(judged.raw / frame.file, binning, origin, size)
    one = judged.examined(judged.science)
    setting = one.facts.setting
    assert (setting.x0, setting.y0) == (right or (0, 0))
    assert (setting.naxis1, setting.naxis2) == size
    values = {entry.keyword: entry.value for entry in judged.composed(frame.file)}
    assert (values["XORGSUBF"], values["YORGSUBF"]) == (right or (0, 0))
    sequence = judged.frames()[frame.file].sequence
    assert ("_sub" in sequence) is (right is not None)


@pytest.mark.parametrize(
    ("binning", "origin", "size"),
    [
        ((1, 1), (0, 0), (8, 11)),
        ((1, 1), (0, 0), (16, 20)),
        ((1, 1), (5, 0), (4, 5)),
        ((2, 2), (0, 0), (8, 10)),
        ((2, 2), (6, 8), (4, 3)),
        ((1, 1), (0, 0), (8, 9.5)),
    ],
)
def test_what_the_camera_cannot_read_out_is_held_back(judged, binning, origin, size):
    resized(judged.raw / judged.science, binning, origin, size)
    assert re.match("wrong size: |unreadable NAXIS2", judged.reason(judged.science))


def resized(path: Path, binning: tuple, origin: tuple, size: tuple) -> Path:
    """Make a frame one of another read-out."""
    cards, _ = split(path.read_bytes())
    values = {"NAXIS1": size[0], "NAXIS2": size[1], "XBINNING": binning[0], "YBINNING": binning[1]}
    values |= {"XORGSUBF": origin[0], "YORGSUBF": origin[1]}
    header = joined([c for c in cards if not c.startswith(("DATASUM", "CHECKSUM"))], b"")
    pixels = bytes(n % 251 for n in range(2 * int(size[0] * size[1])))
    content = header + pixels + bytes(-len(pixels) % BLOCK)
    path.write_bytes(
        with_cards(content, {k: f"{k:<8}= {value:>20}" for k, value in values.items()})
    )
    return path


def test_a_frame_that_lacks_a_few_rows_has_the_wrong_size():
    camera = Camera(name="SPIRIT", naxis1=1024, naxis2=1280, pixel_scale=0.309)
    for rows, fits_in in ((1280, True), (1277, False), (1152, True), (640, True), (1281, False)):
        header = Header([card("NAXIS1", "1024"), card("NAXIS2", str(rows))])
        if fits_in:
            assert setting_of(header, camera).naxis2 == rows
        else:
            with pytest.raises(inventory.BadFrame, match="wrong size"):
                setting_of(header, camera)


@pytest.mark.parametrize("keyword", ["GAIN", "OFFSET", "READOUTM", "READMODE"])
def test_frames_of_unlike_gain_or_mode_are_unlike_sequences(judged, keyword):
    frames = [f for f in judged.frames().values() if f.kind == "bias"]
    for frame, text in zip(frames[:3], ("1", "2", "1"), strict=True):
        rewrite(judged.raw / frame.file, {keyword: f"{keyword:<8}= '{text}'"})
    after = judged.frames()
    found = [after[frame.file].sequence for frame in frames[:3]]
    assert found[0] == found[2] != found[1]


# Values that FITS supplies, and files without their fill


@pytest.mark.parametrize(
    "cards",
    [
        {"BSCALE": None},
        {"BSCALE": "BSCALE  ="},
        {"BSCALE": "BSCALE  =                  1.0"},
        {"NAXIS": "NAXIS   =                  2.0", "NAXIS1": "NAXIS1  =                  8.0"},
        {"BITPIX": "BITPIX  =                 16.0", "BZERO": "BZERO   =              3.2768E4"},
        {"DATASUM": "DATASUM = '          '", "CHECKSUM": "CHECKSUM= '                '"},
        {"DATASUM": None, "CHECKSUM": None},
        {"XBINNING": None, "YORGSUBF": None},
    ],
)
def test_values_that_the_standard_supplies_are_understood(judged, cards):
    rewrite(judged.raw / judged.science, cards)
    assert judged.statuses() == {Status.ASSIGNED}


@pytest.mark.parametrize("image", [None, "BZERO   =                    0"])
def test_signed_pixels_are_not_those_of_astra(judged, image):
    rewrite(judged.raw / judged.science, {"BZERO": image})
    assert "BZERO" in judged.reason(judged.science)


@pytest.mark.parametrize("missing", [0, 1, 1000, 2720])
def test_a_file_without_its_fill_has_all_its_pixels(judged, missing):
    path = judged.raw / judged.science
    content = path.read_bytes()
    before = judged.frames()[judged.science]
    path.write_bytes(content[: len(content) - missing])
    after = judged.frames()[judged.science]
    assert (after.status, after.pixel_sum) == (Status.ASSIGNED, before.pixel_sum)


def test_a_file_without_its_last_pixel_is_truncated(judged):
    path = judged.raw / judged.science
    path.write_bytes(path.read_bytes()[:-2721])
    assert judged.reason(judged.science).startswith("truncated: ")


@pytest.mark.parametrize(
    ("keyword", "value"), [("DATE-OBS", "2026-03-06T00:04:10"), ("EXPTIME", 12.0), ("RA", 120.0)]
)
def test_what_a_correction_sets_is_right(judged, keyword, value):
    correction = Correction(judged.science, "clock", {keyword: value})
    judged.observatory = judged.observatory._replace(corrections=[correction])
    assert judged.statuses() == {Status.ASSIGNED}


def test_a_correction_can_mend_any_card(judged):
    path = judged.raw / judged.science
    content = path.read_bytes().replace(b"'M. Gillon'", b"'M. Gill\xf3n'")
    path.write_bytes(content)
    wrong = {"BITPIX": "BITPIX  = 'many'", "BSCALE": "BSCALE  = 2", "DATASUM": "DATASUM = '1'"}
    wrong |= {"ASTRATYP": "ASTRATYP= 'autofocus'", "DEC": "DEC     =4.28", "RA": "RA      = NAN"}
    wrong |= {"TIMESYS": "TIMESYS = 'TAI'", "NAXIS": "NAXIS   = 3"}
    rewrite(path, wrong)
    assert judged.reason(judged.science)
    right = {"BITPIX": 16, "BSCALE": 1, "DATASUM": None, "ASTRATYP": "object", "DEC": 4.28}
    right |= {"RA": 121.3, "TIMESYS": "UTC", "NAXIS": 2, "PI-COI": "M. Gillon", "CHECKSUM": None}
    correction = Correction(judged.science, "test", right)
    judged.observatory = judged.observatory._replace(corrections=[correction])
    assert judged.statuses() == {Status.ASSIGNED}


def test_a_mount_that_never_reports_its_place_holds_none_back(judged):
    science = [file for file, frame in judged.frames().items() if frame.kind == "science"]
    for file in science:
        rewrite(judged.raw / file, {"ALTITUDE": "ALTITUDE=                 20.0"})
    assert len(science) > 2 and judged.statuses() == {Status.ASSIGNED}
