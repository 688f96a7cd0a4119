"""Deliveries through the workflow: the gate, the ledger, and cubes unpacked again."""

import hashlib
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from astropy.io import fits

from scripts.archive import check_free
from scripts.commands.validate import main as validate
from scripts.lib.headers.finished import read_headers
from scripts.lib.headers.metadata import lost_in_cube
from scripts.lib.ledger.faults import BadFrame
from scripts.lib.ledger.ledger import Ledger, Overtaken, ledger_path
from scripts.lib.ledger.records import Intent, Product, Status
from tests.night import NIGHT
from tests.raw import rewrite
from tests.reader import unpack


def test_a_refused_frame_is_held_back_alone_with_its_reason(callisto):
    truth = callisto.simulate()
    victim = next(row for row in truth if row["kind"] == "science")
    observer = "OBSERVER= 'Nobody'"
    rewrite(callisto.source / NIGHT / victim["file"], {"OBSERVER": observer})
    callisto.run()
    refused = [row for row in callisto.receipts() if row["status"] == "held"]
    assert [row["file"] for row in refused] == [victim["file"]]
    assert "refused by check I15a: OBSERVER 'Nobody'" in refused[0]["reason"]
    victim["fault"] = "refused"
    callisto.assert_delivered_once(truth)
    assert refused[0]["reason"] in (callisto.folder / "summary.txt").read_text()
    verdicts = {row["verdict"] for row in callisto.receipts() if row["status"] == "ok"}
    # The refused frame was the first of its sequence, whose cube is named after it.
    assert all(verdict == "passed" or "T25c" in verdict for verdict in verdicts)
    assert "Nothing to be done" in callisto.run()


def test_a_product_that_is_changed_before_delivery_is_refused(callisto):
    callisto.simulate()
    callisto.run(f"{NIGHT}/frames.csv")
    names = {row["product"] for row in callisto.frames()}
    callisto.run(*(f"{NIGHT}/cubes/{name}" for name in names))
    made = sorted(callisto.folder.glob("cubes/*.fits"))
    content = made[0].read_bytes()
    made[0].write_bytes(content.replace(b"'UTC     '", b"'TAI     '", 1))
    output = callisto.run(status=1, batch=0)
    assert f"archive {NIGHT} {made[0].stem}\n    refused by check F3b" in output
    assert made[0].name not in [path.name for path in callisto.products()]
    assert len(callisto.products()) == len(made) - 1
    made[0].write_bytes(content)
    callisto.run()
    assert len(callisto.products()) == len(made)


@pytest.mark.parametrize("delivered", ["Callisto", "Io"], indirect=True)
def test_a_night_that_was_removed_is_not_delivered_twice(delivered):
    truth = delivered.truth
    count = len(delivered.products())
    delivered.empty_archive()
    shutil.rmtree(delivered.folder)
    delivered.run()
    # All that was known of it is written again, from the ledger.
    assert {row["status"] for row in delivered.receipts()} == {"ok"}
    assert sorted(row["file"] for row in delivered.receipts()) == sorted(r["file"] for r in truth)
    assert delivered.transfer_log() == f"{NIGHT} {count}\n"
    assert delivered.products() == []
    delivered.run(redeliver="true")
    delivered.assert_delivered_once(truth)
    with Ledger(ledger_path(delivered.workdir)) as ledger:
        assert len(delivered.products()) == count == len(ledger.products(NIGHT))


def test_what_was_collected_before_its_receipt_is_delivered_once(delivered):
    delivered.empty_archive()
    # As a kill between delivery and receipt leaves it.
    with Ledger(ledger_path(delivered.workdir)) as ledger:
        products, frames = ledger.products(NIGHT), ledger.frames(NIGHT)
        ledger.note_night(NIGHT, redeliver=1)
        with ledger.transaction():
            ledger.record(replace(frame, status=Status.ASSIGNED) for frame in frames)
        for product in products:
            ledger.forget(product)
        ledger.note_night(NIGHT, redeliver=0)
        intents = [Intent(product, f".{product.name}.1.part") for product in products]
        ledger.stage(intents, frames)
    for receipt in delivered.folder.glob("archived/*.csv"):
        receipt.unlink()
    delivered.run()
    assert delivered.products() == []
    rows = [row for row in delivered.receipts() if row["status"] == "ok"]
    assert len(rows) == len(delivered.truth) and {row["verdict"] for row in rows} == {"passed"}


def test_a_name_that_eso_has_is_refused_to_another_product(tmp_path):
    product = Product("a.fits", NIGHT, "a", "p", "SPECU4.2026-03-06T00:00:10.999", 1, 2, "x", "y")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with ledger.transaction():
            ledger.enter([replace(product, delivered=datetime(2026, 3, 7, tzinfo=UTC))])
        check_free(product, ledger)
        with pytest.raises(BadFrame, match=r"check T24: .* b.fits .*10.999, as a.fits, which was"):
            check_free(replace(product, name="b.fits"), ledger)
        check_free(replace(product, name="b.fits", delivery=1), ledger)
        # Two nights at a time: neither saw the other's product when it was checked.
        other = replace(product, name="c.fits", night="20260306", dp_id="SPECU4.2026-03-07")
        ledger.stage([Intent(other, ".c.fits.1.part")], [])
        with pytest.raises(Overtaken, match="d.fits and c.fits of night 20260306 would be SPECU4"):
            ledger.stage([Intent(replace(other, name="d.fits", night=NIGHT), ".d")], [])


@pytest.mark.parametrize("faulty_night", ["Callisto"], indirect=True)
def test_the_reader_unpacks_every_frame(faulty_night):
    rows = {row["eso_name"]: row for row in faulty_night.frames() if row["status"] == "ok"}
    seen = 0
    for product in faulty_night.products():
        sequence = product.stem.split("_", 1)[1]
        headers = read_headers(faulty_night.folder / f"headers/{sequence[0]}/{sequence}.fits")
        for plane, (name, header) in zip(unpack(product), headers.items(), strict=True):
            row = rows[f"{name}.fits"]
            assert plane.name == name.replace("SPECULOOS", "SPECU").replace("_", ":")
            assert lost_in_cube(plane.values, header) == ""
            raw = (faulty_night.folder / "raw" / row["file"]).read_bytes()
            assert plane.pixels == raw[int(row["data_start"]) :][: len(plane.pixels)]
            # Read from the raw frame by astropy, not by what wrote the cube.
            original = fits.getheader(faulty_night.folder / "raw" / row["file"])
            for keyword in ("IMAGETYP", "FILTER", "EXPTIME", "XPIXSZ", "FOCALLEN", "OBSERVER"):
                assert plane.values[keyword] == original[keyword]
            assert plane.values["AIRMASS"] == pytest.approx(original["AIRMASS"], abs=1e-6)
            assert plane.values["JD-OBS"] == pytest.approx(original["JD-OBS"], abs=1e-7)
            seen += 1
    assert seen == len(rows)


@pytest.mark.parametrize("delivered", ["Io"], indirect=True)
def test_a_file_without_a_cube_is_reported(delivered):
    with pytest.raises(ValueError):
        list(unpack(delivered.products()[0]))


def test_all_products_pass_and_their_pixels_have_one_digest(faulty_night, capsys):
    names = [str(path) for path in faulty_night.products()]
    assert validate(["--config", str(faulty_night.config), "--night", NIGHT, *names]) == 0
    assert capsys.readouterr().out == f"{len(names)} passed, 0 of them with warnings; 0 refused\n"
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in faulty_night.products()]
    assert len(set(digests)) == len(digests)


def test_a_foreign_file_in_the_archive_stops_its_own_frame_only(io):
    truth = io.simulate()
    io.run(f"{NIGHT}/frames.csv")
    good = [row for row in io.frames() if row["kind"] == "science"]
    foreign = io.archive / good[0]["product"]
    foreign.write_bytes(b"not ours")
    output = io.run(status=1)
    assert f"could not be delivered, the others were: {foreign} is another file" in output
    assert len(io.products()) == len(truth) and foreign.read_bytes() == b"not ours"
    foreign.unlink()
    # Collected meanwhile; not to be delivered again.
    collected = io.empty_archive()
    io.run()
    assert [path.name for path in io.products()] == [foreign.name]
    assert len(collected) + 1 == len(truth) == len(io.receipts())
