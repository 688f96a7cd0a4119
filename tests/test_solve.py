"""Nights whose science frames are solved, judged by the truth they were drawn from."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.wcs import WCS

from scripts import solve
from scripts.commands.catalogue import make_index
from scripts.lib.files.errors import JobFailed
from scripts.lib.fits.hdu import read_header
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.ledger.records import Frame, Status
from scripts.lib.settings.records import Camera, record_of
from scripts.lib.solving.star_catalogue import open_catalogue
from scripts.lib.solving.stars import EVERYWHERE
from scripts.lib.solving.table import Solved, read_solved
from scripts.simulator.sky import RADIAL, astropy_wcs
from tests.night import FULL, NIGHT, Night
from tests.smtp import MailServer

SIZES = {"Callisto": None if FULL else (512, 640), "Io": None if FULL else (700, 716)}
# Both databases of the site, and their epochs.
DATABASES = {
    "Callisto": ("gaia_tmass_16_jm_cut.db", 2015.5),
    "Io": ("gaia_dr3_unified_16jcut.db", 2016.0),
}
CLOSE = 0.3  # arcsec, anywhere on the detector


@pytest.fixture(scope="session", params=["Callisto", "Io"])
def solved_night(request, tmp_path_factory):
    """A delivered night whose frames were solved, and its truth."""
    telescope = request.param
    night: Any = Night(tmp_path_factory.mktemp(telescope), telescope, size=SIZES[telescope])
    night.truth = {row["file"]: row for row in night.simulate(frames=30, every_kind=True)}
    night.output = night.run(catalogue=night.site_stars(*DATABASES[telescope]))
    return night


def science(night) -> dict:
    """Return frames.csv's rows of the science frames by ESO's name without suffix."""
    rows = [row for row in night.frames() if row["kind"] == "science"]
    return {row["eso_name"].removesuffix(".fits"): row for row in rows}


def delivered_headers(night) -> dict[str, fits.Header]:
    """Return a header for each delivered science frame, by ESO's name: from METADATA for cubes."""
    found = {}
    for path in night.products():
        with fits.open(path) as hdus:
            if len(hdus) == 1:
                found[path.stem] = hdus[0].header
                continue
            for record in hdus["METADATA"].data:
                header = hdus[0].header.copy(strip=True)
                for name in hdus["METADATA"].columns.names:
                    if record[name] == record[name]:  # NaN is not a value
                        header[name] = record[name]
                found[record["FILENAME"].removesuffix(".fits")] = header
    return {name: header for name, header in found.items() if name in science(night)}


def error(header: fits.Header, truth: dict) -> float:
    """Return the largest distance (arcsec) between a header's sky and the true one."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [header["CTYPE1"], header["CTYPE2"]]
    wcs.wcs.crpix = [header["CRPIX1"], header["CRPIX2"]]
    wcs.wcs.crval = [header["CRVAL1"], header["CRVAL2"]]
    wcs.wcs.cd = [[header[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]
    names = "crpix1 crpix2 crval1 crval2 cd1_1 cd1_2 cd2_1 cd2_2".split()
    true = astropy_wcs({key: float(truth[key]) for key in [*names, *RADIAL]})
    columns, rows = int(truth["naxis1"]), int(truth["naxis2"])
    grid = np.array([(x, y) for x in (1, columns / 2, columns) for y in (1, rows / 2, rows)])
    mine = wcs.pixel_to_world(*(grid.T - 1))
    theirs = true.pixel_to_world(*(grid.T - 1))
    return float(mine.separation(theirs).arcsec.max())


def test_every_science_frame_is_solved_where_it_was_drawn(solved_night):
    rows, headers = science(solved_night), delivered_headers(solved_night)
    assert headers.keys() == rows.keys()
    for name, header in headers.items():
        assert error(header, solved_night.truth[rows[name]["file"]]) < CLOSE, name


def test_a_stale_wcs_is_replaced(solved_night):
    stale = [row for row in solved_night.truth.values() if row["header_wcs_stale"]]
    assert bool(stale) == (solved_night.telescope == "Callisto")
    rows, headers = science(solved_night), delivered_headers(solved_night)
    names = {row["file"]: name for name, row in rows.items()}
    for truth in stale:
        raw = fits.getheader(solved_night.source / NIGHT / truth["file"])
        header = headers[names[truth["file"]]]
        assert raw["PC1_1"] * header["CD1_1"] < 0


def test_solutions_are_tables_with_units(solved_night):
    tables = list((solved_night.folder / "solved").glob("*.fits"))
    assert {path.stem for path in tables} == {
        row["sequence"] for row in science(solved_night).values()
    }
    for path in tables:
        with fits.open(path, checksum=True) as hdus:
            table = hdus["SOLUTIONS"]
            units = {column.name: column.unit for column in table.columns if column.unit}
            assert units["rms"] == units["offset"] == units["fwhm"] == "arcsec"
            assert units["cd1_1"] == "deg/pixel" and units["scale"] == "arcsec/pixel"
            assert table.data["solved"].all()
            assert (table.data["matched"] >= 4).all() and (table.data["log_fap"] < -5).all()
            assert np.isfinite(table.data["cpu"]).all()
            assert units["zero_point"] == units["limiting_magnitude"] == "mag"
            assert units["sky"] == "adu/s" and units["centre_error"] == "arcsec"
            assert units["scale_error"] == "arcsec/pixel" and units["rotation_error"] == "deg"
            assert (0 < table.data["transparency"]).all() and table.data["transparency"].max() == 1
            assert (table.data["limiting_magnitude"] < table.data["zero_point"]).all()
            assert (table.data["found"] > 0.7 * table.data["expected"]).all()
            assert ((0 < table.data["sky"]) & (table.data["sky"] < 100)).all()
            assert ((0 <= table.data["ellipticity"]) & (table.data["ellipticity"] < 1)).all()
        done = subprocess.run(["fitsverify", "-q", path], capture_output=True, text=True)
        assert "OK" in done.stdout, done.stdout


def test_headers_say_how_they_were_solved(solved_night):
    for header in delivered_headers(solved_night).values():
        assert "stars, rms" in header["SOLVER"]
        assert header["RADESYS"] == "ICRS"
        assert "EQUINOX" not in header and "PC1_1" not in header
        assert 0 < header["CRDER1"] == header["CRDER2"] < 1e-4


def test_page_and_summary_count_the_solved(solved_night):
    count = len(science(solved_night))
    assert f"solved       {count} of {count}" in (solved_night.folder / "summary.txt").read_text()
    data = json.loads((solved_night.folder / "night.json").read_text())
    assert (data["counts"]["to_solve"], data["counts"]["unsolved"]) == (count, 0)
    # One dot in each of four charts.
    for name in ("fwhm", "sky", "ra_offset", "dec_offset"):
        assert sum(value is not None for value in data["frames"][name]) == count


def test_products_keep_the_raw_pixels(solved_night):
    solved_night.assert_delivered_once(list(solved_night.truth.values()))


@pytest.fixture
def overcast(tmp_path):
    """A Callisto night whose frames Astra did not solve, some with the dome's inside."""
    night: Any = Night(tmp_path, "Callisto", size=(512, 640))
    truth = night.simulate(frames=16, wcs="none")
    blank = [row for row in truth if row["kind"] == "science"][-3:]
    for row in blank:
        path = night.source / NIGHT / row["file"]
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            rng = np.random.default_rng(int(row["datasum"]))
            hdus[0].data[:] = rng.normal(2000, 30, hdus[0].data.shape) - 32768
            hdus[0].add_datasum()
            hdus[0].add_checksum(override_datasum=True)
    night.blank = {row["file"] for row in blank}
    night.good = [row for row in truth if row["file"] not in night.blank]
    return night


def test_frames_without_stars_get_pixel_coordinates(overcast):
    overcast.run(catalogue=overcast.stars())
    rows, headers = science(overcast), delivered_headers(overcast)
    unsolved = [header for name, header in headers.items() if rows[name]["file"] in overcast.blank]
    assert len(unsolved) == 3
    for header in unsolved:
        assert header["SOLVER"].startswith("unsolved: ")
        assert header["CTYPE1"].strip() == "PIXEL" and header["CRVAL1"] == 1
    page = overcast.page().read_text()
    assert all(name in page for name in overcast.blank)


def test_each_plane_has_its_own_frame_of_reference(overcast):
    overcast.run(catalogue=overcast.stars())
    rows, headers = science(overcast), delivered_headers(overcast)
    for name, header in headers.items():
        raw = fits.getheader(overcast.source / NIGHT / rows[name]["file"])
        assert raw["RADESYS"] == "FK5"
        solved = rows[name]["file"] not in overcast.blank
        assert header["RADESYS"] == ("ICRS" if solved else "FK5")
        assert ("EQUINOX" in header) == (not solved)


def test_unsolved_frames_are_held_back_on_demand_until_released(overcast):
    options = {"catalogue": overcast.stars(), "unsolved": "hold"}
    overcast.run(**options)
    overcast.assert_delivered_once(overcast.good)
    before = overcast.inodes()
    summary = (overcast.folder / "summary.txt").read_text()
    assert "held back    3\n             3 x unsolved" in summary
    assert "Nothing to be done" in overcast.run(**options)
    overcast.run(**options | {"unsolved": "deliver"})
    held = {row["file"] for row in overcast.frames() if row["status"] == "held"}
    assert not held
    released = overcast.inodes()
    assert before.items() <= released.items()
    # A further part of the sequence that was delivered, all of the one that was not.
    new = sorted(released.keys() - before.keys())
    assert any("_part2" in name for name in new)
    assert sum(fits.getheader(overcast.archive / name)["NAXIS3"] for name in new) == 3


def test_an_unsolved_sequence_does_not_stop_others(overcast):
    """All frames of one target are unsolved and held back."""
    target = [row for row in overcast.good if row["kind"] == "science"][0]["object"]
    others = [r for r in overcast.good if r["object"] != target]
    sky = overcast.root / "other.csv"
    lines = open(overcast.stars()).read().splitlines()
    ra = next(fits.getval(p, "RA") for p in (overcast.source / NIGHT).glob(f"*{target}*"))
    stars = [line.split(",") for line in lines[1:]]
    # The stars of the target are elsewhere, so that those which are there do not match.
    for star in stars:
        if abs(float(star[0]) - ra) <= 1:
            star[1] = str(float(star[1]) + 0.3)
    sky.write_text("\n".join([lines[0], *map(",".join, stars)]) + "\n")
    overcast.run(catalogue=str(sky), unsolved="hold")
    overcast.assert_delivered_once([r for r in others if r["file"] not in overcast.blank])
    assert not [path for path in overcast.products() if target in path.name]
    assert "Nothing to be done" in overcast.run(catalogue=str(sky), unsolved="hold")


def test_too_many_unsolved_frames_are_a_bad_night(overcast):
    output = overcast.run(catalogue=overcast.stars(), unsolved="hold", max_held=0.1, status=1)
    assert "3 unsolved" in output and "unsolved=deliver" in output
    assert not science_products(overcast)
    overcast.run(catalogue=overcast.stars(), unsolved="hold")
    overcast.assert_delivered_once(overcast.good)


def science_products(night) -> list[Path]:
    return [path for path in night.products() if "_S_" in path.name]


def missing(path: Path) -> None:
    """Leave no file."""


def text(path: Path) -> None:
    path.write_text("not a database\n" * 500)


def elsewhere(path: Path) -> None:
    """Write a catalogue of another part of the sky."""
    stars = [f"{200 + i / 100},-70,{9 + i / 10}\n" for i in range(50)]
    path.write_text("ra,dec,mag\n" + "".join(stars))


@pytest.mark.parametrize(
    "write, name, found",
    [
        (missing, "stars.csv", "does not exist"),
        (text, "stars.sqlite", "not an SQLite database"),
        (elsewhere, "stars.csv", "has 0 stars within"),
    ],
)
def test_an_unusable_catalogue_is_mailed_and_science_waits(overcast, write, name, found):
    path = overcast.root / name
    write(path)
    config = overcast.settings()
    with MailServer(security="none") as server:
        mail = {"from": "archive@obs.example", "to": ["one@obs.example"], "host": "127.0.0.1"}
        config["mail"] = mail | {"port": server.port, "security": "none"}
        overcast.config.write_text(yaml.safe_dump(config))
        output = overcast.run(catalogue=str(path), status=1)
        [(_, message)] = server.received
        text = message.get_body(("plain",)).get_content()
        assert "solve" in text and f"catalogue: {path}" in text
        # Mails break lines.
        assert found in " ".join(text.split())
        assert f"catalogue: {path}" in output
        assert not science_products(overcast)
        # Calibrations do not depend on it.
        assert overcast.products()
        overcast.run(catalogue=overcast.stars())
    assert len(delivered_headers(overcast)) == len(science(overcast))
    assert all(str(overcast.root) not in str(h) for h in delivered_headers(overcast).values())


def test_without_solving_a_credible_header_is_believed(tmp_path):
    night = Night(tmp_path, "Callisto", size=(512, 640))
    night.simulate(frames=14)
    night.run(catalogue=night.stars(), solve="never")
    assert not (night.folder / "solved").exists()
    headers = delivered_headers(night).values()
    assert all("SOLVER" not in header for header in headers)
    assert all(header["CTYPE1"] == "RA---TAN" for header in headers)


def test_one_sequence_can_be_solved_on_demand(overcast):
    overcast.run(catalogue=overcast.stars(), keep_raw="true")
    sequence = next(iter(science(overcast).values()))["sequence"]
    target = f"{NIGHT}/solved/{sequence}.fits"
    (overcast.workdir / target).unlink()
    overcast.run(target, catalogue=overcast.stars(), solve="always")
    with fits.open(overcast.workdir / target) as hdus:
        assert "header" not in set(hdus["SOLUTIONS"].data["method"])


@pytest.fixture(scope="session")
def indexed_night(tmp_path_factory):
    """A Callisto night, not yet run, and index files of its stars."""
    if not shutil.which("build-astrometry-index"):
        pytest.skip("Debian's astrometry.net is not installed")
    night: Any = Night(tmp_path_factory.mktemp("indexed"), "Callisto", size=None)
    night.simulate(frames=14)
    rows = open_catalogue(night.stars(), "j").stars(EVERYWHERE)
    night.index = str(night.root / "index")
    make_index(rows, Path(night.index))
    return night


def methods(night) -> set[str]:
    """Return the methods by which the night's frames were solved; fail unless all were."""
    found = set()
    for path in (night.folder / "solved").glob("*.fits"):
        data = fits.getdata(path, "SOLUTIONS")
        assert data["solved"].all()
        found |= set(data["method"])
    return found


def test_the_stars_of_index_files_are_a_catalogue(indexed_night, tmp_path):
    indexed_night.run(
        index=indexed_night.index, workdir=tmp_path / "work", archive=archive(tmp_path)
    )
    indexed_night.folder = tmp_path / "work" / NIGHT
    assert methods(indexed_night)


def test_the_engine_finds_frames_of_another_scale(indexed_night, tmp_path):
    """The configuration is wrong by 6 percent, more than a match assumes."""
    config = yaml.safe_load(indexed_night.config.read_text())
    config["camera"]["pixel_scale"] *= 1.06
    indexed_night.config.write_text(yaml.safe_dump(config))
    indexed_night.run(
        catalogue=indexed_night.stars(),
        index=indexed_night.index,
        workdir=tmp_path / "work",
        archive=archive(tmp_path),
    )
    indexed_night.folder = tmp_path / "work" / NIGHT
    assert "engine" in methods(indexed_night)


def archive(folder: Path) -> Path:
    (folder / "archive").mkdir()
    return folder / "archive"


def test_a_run_killed_while_it_solves_is_completed_by_the_next(tmp_path):
    night = Night(tmp_path, "Callisto", size=(512, 640))
    truth = night.simulate(frames=60, every_kind=True)
    command = night.command(catalogue=night.stars())
    with open(tmp_path / "killed.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=night.repository, stdout=log, stderr=log, start_new_session=True
        )
        while not list(night.folder.glob("logs/solve/*.log")):
            assert process.poll() is None, (tmp_path / "killed.log").read_text()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    night.run(catalogue=night.stars())
    night.assert_delivered_once(truth)
    assert methods(night)
    assert not list(night.folder.rglob("*.part"))


def solving_of(catalogue: Path | str, **settings: str) -> Any:
    """Return what solving needs of the configuration."""
    found = {"index": "", "solve": "always", "dark": "", "catalogue_epoch": None} | settings
    return SimpleNamespace(catalogue=str(catalogue), **found)


class Sequence:
    """Raw frames of a target, and what they are solved with.

    Attributes
    ----------
    frames : list of Frame
        In time order; the second target's follow the first's.
    """

    def __init__(self, folder: Path, camera, band: str, truth: list[dict]):
        self.raw = folder / NIGHT
        self.catalogue = folder / f"{NIGHT}.stars.csv"
        self.frames = sorted((self.frame(row) for row in truth), key=lambda f: f.begin)
        # Of an observatory, solving needs the camera.
        self.observatory: Any = SimpleNamespace(camera=camera)
        self.band = band

    def frame(self, row: dict) -> Frame:
        with open(self.raw / row["file"], "rb") as stream:
            header = read_header(stream)
            begin = stream.tell()
        date = datetime.fromisoformat(str(header.value("DATE-OBS"))).replace(tzinfo=UTC)
        return Frame(
            NIGHT,
            row["file"],
            status=Status.ASSIGNED,
            kind=row["kind"],
            object=row["object"],
            exptime=header.number("EXPTIME"),
            date_obs=date,
            data_start=begin,
            naxis1=header.whole("NAXIS1"),
            naxis2=header.whole("NAXIS2"),
            sequence=f"S_{row['object']}" if row["kind"] == "science" else "C_DARK",
        )

    @property
    def science(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.kind == "science"]

    def solver(self, catalogue: Path | None = None, **settings: str) -> solve.Solver:
        solving = solving_of(catalogue or self.catalogue, **settings)
        return solve.open_solver(self.raw, self.science, self.frames, self.observatory, solving)


def exposure(raw: Path, name: str, observatory):
    """Stand in for `load_exposure`: only the header, not judged."""
    with open(raw / name, "rb") as stream:
        header = read_header(stream)
    facts = SimpleNamespace(setting=SimpleNamespace(xbinning=1))
    return SimpleNamespace(raw=header, facts=facts, telescope=SimpleNamespace(ra_unit=1.0))


@pytest.fixture(scope="session")
def drawn_sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    night = Night(folder, "Callisto", size=(512, 640))
    truth = [row for row in night.simulate(frames=24) if row["kind"] in ("science", "dark")]
    camera = record_of(Camera, night.settings()["camera"])
    return Sequence(night.source, camera, camera.band, truth)


@pytest.fixture
def sequence(drawn_sequence, tmp_path, monkeypatch):
    """A sequence of two targets, whose files may be damaged; two frames are worth a process."""
    monkeypatch.setattr(solve, "load_exposure", exposure)
    monkeypatch.setattr(solve, "FEWEST_A_THREAD", 2)
    copy = Sequence.__new__(Sequence)
    copy.__dict__ = drawn_sequence.__dict__ | {
        "raw": Path(shutil.copytree(drawn_sequence.raw, tmp_path / "raw")),
        "catalogue": Path(shutil.copy(drawn_sequence.catalogue, tmp_path / "stars.csv")),
    }
    return copy


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_frames_come_back_in_their_order(sequence, threads):
    solved = solve.solve_sequence(sequence.science, sequence.solver(), threads)
    assert [row.file for row in solved] == [frame.file for frame in sequence.science]
    assert all(row.solved for row in solved)
    assert {row.catalogue for row in solved} == {"stars.csv"}
    assert all("/" not in row.provenance for row in solved)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_catalogue_lost_before_solving_ends_it(sequence, threads):
    """Also in a process of its own, whose error is passed on, and without one left at work."""
    solver = sequence.solver()
    sequence.catalogue.write_text("a page that asks for a password\n")
    with pytest.raises(JobFailed, match="no column ra, dec, mag") as error:
        solve.solve_sequence(sequence.science, solver, threads)
    assert str(error.value).startswith(f"catalogue: {sequence.catalogue}")
    assert not multiprocessing.active_children()


def damage_after(frames: int, solved: list, path: Path, *arguments, by):
    """Solve a frame; once so many are solved, make a file unreadable."""
    solution = by(*arguments)
    solved.append(solution)
    if len(solved) == frames:
        path.write_text("a page that asks for a password\n")
    return solution


def test_a_catalogue_lost_in_the_middle_ends_it(sequence, monkeypatch, tmp_path):
    """The frames that were solved before are not delivered without the others."""
    # The first target only; then the catalogue is asked for the second.
    half = partial(damage_after, 3, [], sequence.catalogue, by=solve.solve_frame)
    monkeypatch.setattr(solve, "solve_frame", half)
    targets = [frame.object for frame in sequence.science]
    assert 3 < targets.index(targets[-1]) < len(targets)
    frames = [
        Frame(**{name: getattr(frame, name) for name in frame.__slots__} | {"sequence": "S_1"})
        for frame in sequence.science
    ]
    solving = solving_of(sequence.catalogue)
    target = tmp_path / "solved.fits"
    with pytest.raises(JobFailed, match=str(sequence.catalogue)):
        solve.write_solved(target, "S_1", frames, sequence.raw, sequence.observatory, solving)
    assert not target.exists()


def failing_at(number: int, error: Exception, counted: list, *arguments, by):
    """Solve a frame, but fail at one."""
    counted.append(number)
    if len(counted) == number:
        raise error
    return by(*arguments)


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(5, "Input/output error", "/data/raw/x.fits"), "error while solving (OSError)"),
        (ValueError("/home/observer/x is wrong"), "error while solving (ValueError)"),
        (ZeroDivisionError("division"), "error while solving (ZeroDivisionError)"),
        (BadFrame(Reason.UNREADABLE, "'/tmp/x' is not an angle", "RA"), "unreadable RA"),
    ],
)
def test_an_error_of_one_frame_affects_it_alone(sequence, monkeypatch, error, reason, caplog):
    failing = partial(failing_at, 4, error, [], by=solve.solve_frame)
    monkeypatch.setattr(solve, "solve_frame", failing)
    solved = solve.solve_sequence(sequence.science, sequence.solver(), 1)
    unsolved = [row for row in solved if not row.solved]
    assert [row.file for row in unsolved] == [sequence.science[3].file]
    assert unsolved[0].reason == reason
    assert unsolved[0].provenance == f"unsolved: {reason}"
    # The log says what the header does not.
    assert str(error) in caplog.text


def test_damaged_raw_frames_are_held_back_alone(sequence):
    frames = sequence.science
    os.truncate(sequence.raw / frames[1].file, frames[1].data_start + 1000)
    (sequence.raw / frames[2].file).unlink()
    (sequence.raw / frames[5].file).write_text("not a frame" * 1000)
    solved = solve.solve_sequence(frames, sequence.solver(), 2)
    failed = {row.file: row.reason for row in solved if not row.solved}
    assert list(failed) == [frames[i].file for i in (1, 2, 5)]
    assert all("/" not in reason and "Errno" not in reason for reason in failed.values())


def test_an_error_of_the_engine_in_a_process_reaches_the_caller(sequence, monkeypatch):
    error = JobFailed("index: /data/index cannot be read: index-00.fits: it is truncated")
    failing = partial(failing_at, 2, error, [], by=solve.solve_frame)
    monkeypatch.setattr(solve, "solve_frame", failing)
    with pytest.raises(JobFailed, match="index-00.fits"):
        solve.solve_sequence(sequence.science, sequence.solver(), 2)


NO_SOLVER: Any = None  # where it is not asked for anything


def send(size: int, first: str, frames, solver):
    """Stand in for `solve_stretch`: the first process is killed, others have much to send."""
    if frames[0].file == first:
        os.kill(os.getpid(), signal.SIGKILL)
    return [Solved(frame.file, False, reason="x" * size) for frame in frames]


def test_a_killed_process_ends_the_others(sequence, monkeypatch):
    """Even if what they send fills their pipes."""
    frames = sequence.science
    stand_in = partial(send, 1_000_000, frames[0].file)
    monkeypatch.setattr(solve, "solve_stretch", stand_in)
    with pytest.raises(RuntimeError, match="was killed"):
        solve.solve_sequence(frames, NO_SOLVER, 3)
    assert not multiprocessing.active_children()
    monkeypatch.setattr(solve, "solve_stretch", partial(send, 1_000_000, ""))
    assert len(solve.solve_sequence(frames, NO_SOLVER, 3)) == len(frames)


def broken(frames, solver):
    raise KeyError("/data/raw")


def test_a_bug_in_a_process_reaches_the_caller(sequence, monkeypatch):
    monkeypatch.setattr(solve, "solve_stretch", broken)
    with pytest.raises(RuntimeError, match="part of the sequence: KeyError"):
        solve.solve_sequence(sequence.science, NO_SOLVER, 2)


def test_what_cannot_be_used_is_found_before_frames_are_read(sequence, tmp_path):
    with pytest.raises(JobFailed, match="nothing.csv does not exist"):
        sequence.solver(tmp_path / "nothing.csv")
    sequence.observatory.camera = replace(sequence.observatory.camera, fixed_pattern=True)
    darks, sequence.frames = sequence.frames, sequence.science
    with pytest.raises(JobFailed, match="nothing.fits does not exist"):
        sequence.solver(dark=str(tmp_path / "nothing.fits"))
    sequence.frames = darks
    pytest.importorskip("astrometry")
    with pytest.raises(JobFailed, match="nowhere does not exist"):
        sequence.solver(index=str(tmp_path / "nowhere"))


def test_a_sequence_is_solved_and_written(sequence, tmp_path):
    name = sequence.science[0].sequence
    solving = solving_of(sequence.catalogue)
    write = partial(solve.write_solved, tmp_path / "solved.fits")
    write(name, sequence.frames, sequence.raw, sequence.observatory, solving, 2)
    rows = read_solved(tmp_path / "solved.fits")
    assert list(rows) == [f.file for f in sequence.science if f.sequence == name]
    assert all(row.solved for row in rows.values())
    with pytest.raises(LookupError, match="S_other: no good frame of this sequence"):
        write("S_other", sequence.frames, sequence.raw, sequence.observatory, solving)


def test_settings_are_those_of_the_configuration(sequence, monkeypatch):
    monkeypatch.setattr(solve, "Engine", lambda folder, radius: str(folder))
    monkeypatch.setattr(solve, "open_catalogue", lambda path, band, epoch: path)
    solver = sequence.solver(solve="verify")
    assert solver.catalogue == str(sequence.catalogue) and solver.engine is None and solver.verify
    sequence.catalogue = ""
    solver = sequence.solver(index="/i")
    assert solver.catalogue == solver.engine == "/i" and not solver.verify
