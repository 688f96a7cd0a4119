"""Nights and targets that belong to other programmes."""

import pytest
import yaml
from astropy.io import fits

from scripts.lib.frames.programmes import (
    assignments,
    programme_delivered,
    programme_of,
    programmes_of,
)
from scripts.lib.ledger.records import Frame
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.records import ProgrammeEntry
from tests.night import NIGHT
from tests.test_next_runs import NOTHING, move_out

OWN, CHILE, GUEST = "60.A-9009(D)", "60.A-9099(A)", "110.23WX.001"


def configure(night, programmes: list[dict]) -> None:
    config = yaml.safe_load(night.config.read_text())
    night.config.write_text(yaml.safe_dump(config | {"programmes": programmes}))


def delivered_programmes(night) -> dict[str, str]:
    """Return the programme id of each product by its name."""
    return {path.name: fits.getval(path, "HIERARCH ESO OBS PROG ID") for path in night.products()}


def test_assignments_of_a_night():
    entries = [
        ProgrammeEntry("20260301-20260310", CHILE, ()),
        ProgrammeEntry(NIGHT, GUEST, ("TIC*",)),
        ProgrammeEntry("20260401", GUEST, ()),
    ]
    assigned = assignments(NIGHT, entries)
    assert assigned == [entries[1], entries[0]]
    assert programme_of("science", "TIC 46432937 b", assigned, OWN) == GUEST
    assert programme_of("science", "Sp0805+0417", assigned, OWN) == CHILE
    assert programme_of("dark", "DARK", assigned, OWN) == CHILE
    assert programme_of("dark", "TIC dark", assigned[:1], OWN) == OWN
    assert programme_of("science", "anything", [], OWN) == OWN
    with pytest.raises(ConfigurationError):
        programmes_of(NIGHT, [ProgrammeEntry("yesterday", CHILE, ())])


def test_a_target_of_another_programme_has_its_id_and_its_log(callisto):
    truth = callisto.simulate()
    configure(callisto, [{"nights": NIGHT, "programme": CHILE, "targets": ["TIC*"]}])
    callisto.run()
    callisto.assert_delivered_once(truth)
    found = delivered_programmes(callisto)
    theirs = [name for name, programme in found.items() if programme == CHILE]
    assert theirs and all("TIC" in name for name in theirs)
    assert set(found.values()) == {OWN, CHILE}
    assert callisto.transfer_log() == f"{NIGHT} {len(found) - len(theirs)}\n"
    other = callisto.workdir / "transfer_log_60.A-9099_A.txt"
    assert other.read_text() == f"{NIGHT} {len(theirs)}\n"


def test_a_programme_on_the_command_line_is_that_of_all_frames(callisto):
    callisto.simulate()
    configure(callisto, [{"nights": NIGHT, "programme": CHILE}])
    callisto.run(programme=GUEST)
    assert set(delivered_programmes(callisto).values()) == {GUEST}


def test_without_an_entry_the_id_of_what_was_delivered_counts():
    rows = [
        Frame(NIGHT, "a.fits", kind="dark", object="DARK", programme=CHILE),
        Frame(NIGHT, "b.fits", kind="science", object="TIC 1", programme=GUEST),
    ]
    assert programme_delivered(rows, [ProgrammeEntry(NIGHT, GUEST, ("TIC*",))]) == CHILE
    assert programme_delivered(rows[1:], [ProgrammeEntry(NIGHT, GUEST, ("TIC*",))]) == ""
    assert programme_delivered(rows, [ProgrammeEntry(NIGHT, OWN, ())]) == ""
    assert programme_delivered(rows, []) == "", "nobody knows which is right"


def test_a_programme_given_by_hand_is_kept_on_further_runs(callisto):
    truth = callisto.simulate()
    late = move_out(callisto, [truth[-1]["file"]])
    callisto.run(programme=CHILE)
    assert NOTHING in callisto.run()
    for name, content in late.items():
        (callisto.source / NIGHT / name).write_bytes(content)
    callisto.run()
    callisto.assert_delivered_once(truth)
    assert set(delivered_programmes(callisto).values()) == {CHILE}
    assert {row["verdict"] for row in callisto.receipts()} == {"passed"}
    assert callisto.transfer_log() == f"{NIGHT} {len(callisto.products())}\n"
    assert [path.name for path in callisto.workdir.glob("transfer_log*")] == ["transfer_log.txt"]


def test_a_delivered_night_is_refused_under_another_id(delivered):
    truth = delivered.truth
    output = delivered.run(programme=CHILE, status=1)
    assert f"{OWN} (now {CHILE})" in output and "redeliver=true" in output
    delivered.assert_delivered_once(truth)
    assert set(delivered_programmes(delivered).values()) == {OWN}
    delivered.run()
    delivered.assert_delivered_once(truth)
    collected = delivered.empty_archive()
    assert collected
    delivered.run(programme=CHILE, redeliver="true")
    delivered.assert_delivered_once(truth)
    assert set(delivered_programmes(delivered).values()) == {CHILE}


def test_a_listed_night_without_a_programme_is_refused(callisto):
    truth = callisto.simulate()
    configure(callisto, [{"nights": NIGHT}])
    output = callisto.run(status=1)
    assert f"{NIGHT} is listed without a programme id" in output
    assert not callisto.products()
    callisto.run(programme=GUEST)
    callisto.assert_delivered_once(truth)
    assert set(delivered_programmes(callisto).values()) == {GUEST}


def test_an_id_that_eso_does_not_know_is_refused(callisto):
    callisto.simulate()
    configure(callisto, [{"nights": NIGHT, "programme": "Chile"}])
    assert "programmes" in callisto.run(status=1)
    assert not callisto.products()
