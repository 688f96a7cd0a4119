"""The ledger, and publishing by it: what is written stays, and no product appears twice."""

import ctypes
import errno
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.lib.delivery import publish
from scripts.lib.delivery.publish import (
    NameTaken,
    publish_intents,
    remove_hidden,
    rename_without_replacing,
    stage,
    take_back,
)
from scripts.lib.files.durable import writer
from scripts.lib.files.errors import Damaged
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import FORM, Ledger, LedgerError, Overtaken, ledger_path
from scripts.lib.ledger.records import (
    DELIVERY,
    DONE,
    FileState,
    Frame,
    Intent,
    Measures,
    Night,
    Product,
    Status,
    Transfer,
)
from tests.night import NIGHT
from tests.records import product_file, product_of

# No field has its default value, so that each is tested.
FRAME = Frame(
    NIGHT,
    "a, 'b'.fits",
    version=2,
    source=FileState(2**40, 2**62),
    datasum=1,
    header_sum=2,
    pixel_sum=2**32 - 1,
    status=Status.ASSIGNED,
    fault=Fault(Reason.OUT_OF_RANGE, 'it is 5 "s", not 0', "EXPTIME"),
    kind="science",
    object="Sp0805+0417",
    filter="i'",
    exptime=0.1,
    date_obs=datetime(2026, 3, 6, 0, 1, 23, 540_000, tzinfo=UTC),
    data_start=2880,
    naxis1=3,
    naxis2=4,
    eso_name="SPECULOOS4.2026-03-06T00_01_23.540.fits",
    sequence="S_x",
    product="p.fits",
    programme="60.A-9009(D)",
    delivery=1,
)
LATER = datetime(2026, 3, 7, 12, 0, 0, 1000, tzinfo=UTC)
PRODUCT = Product(
    "p.fits", NIGHT, "S_x", "60.A-9009(D)", "SPECU4.x", 2**40, 2**32 - 1, "abc", "passed; x", 3
)
PRODUCT = replace(PRODUCT, delivered=LATER, confirmed=LATER + timedelta(hours=1))


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger on the disk."""
    with Ledger(ledger_path(tmp_path)) as ledger:
        yield ledger


def record(ledger: Ledger, *frames: Frame) -> None:
    with ledger.transaction():
        ledger.record(frames)


def enter(ledger: Ledger, *products: Product) -> None:
    with ledger.transaction():
        ledger.enter(products)


def cell(ledger: Ledger, column: str) -> str:
    """Return a column of the only frame, as another process reads it."""
    connection = sqlite3.connect(ledger.path)
    [(value,)] = connection.execute(f"SELECT {column} FROM frames").fetchall()
    connection.close()
    return value


def frame_of(status: Status, delivery: int = 0) -> Frame:
    """Return a frame of the product p.fits."""
    return replace(FRAME, version=0, fault=None, status=status, delivery=delivery)


# Records


def test_a_frame_comes_back_with_every_field(ledger):
    plain = Frame(NIGHT, "plain.fits")
    stored = [field.name for field in fields(Frame) if field.compare]
    defaults = [name for name in stored if getattr(FRAME, name) == getattr(plain, name)]
    assert defaults == ["night"]
    record(ledger, FRAME, plain)
    assert ledger.frames(NIGHT) == [FRAME, plain]
    assert ledger.frames("20260306") == []


def test_frames_come_by_name_and_version(ledger):
    frames = [replace(FRAME, file=name, version=n) for name in ("b", "a", "B") for n in (1, 0)]
    record(ledger, *frames)
    keys = [frame.key for frame in ledger.frames(NIGHT)]
    assert keys == [("B", 0), ("B", 1), ("a", 0), ("a", 1), ("b", 0), ("b", 1)]


@pytest.mark.parametrize("reason", Reason)
def test_every_fault_comes_back_as_it_was(ledger, reason):
    fault = Fault(reason, "detail: of it", "KEYWORD")
    record(ledger, replace(FRAME, status=Status.HELD, fault=fault))
    assert ledger.frames(NIGHT)[0].fault == fault


def test_control_characters_in_details_are_escaped(ledger):
    fault = Fault(Reason.OTHER, "a\nb\x1b[2Jc\udcff.fits é")
    record(ledger, replace(FRAME, status=Status.HELD, fault=fault))
    assert ledger.frames(NIGHT)[0].fault.detail == r"a\nb\x1b[2Jc\udcff.fits é"


def test_a_product_comes_back_with_every_field(ledger):
    other = replace(PRODUCT, name="q.fits", delivered=None, confirmed=None)
    enter(ledger, other, PRODUCT)
    assert ledger.products(NIGHT) == [PRODUCT, other]
    assert ledger.product("p.fits") == PRODUCT and ledger.product("none.fits") is None
    assert ledger.named("SPECU4.x") == [PRODUCT, other] and ledger.named("SPECU4.y") == []


def test_a_night_comes_back_with_every_field(ledger):
    assert ledger.night(NIGHT) == Night(NIGHT) and ledger.nights() == {}
    values = {
        field.name: {str: field.name, bool: True, int: 2}[type(field.default)]
        for field in fields(Night)[1:]
    }
    night = Night(NIGHT, **values)
    ledger.note_night(NIGHT, **values)
    assert ledger.night(NIGHT) == night and ledger.nights() == {NIGHT: night}
    ledger.note_night(NIGHT, reported=0)
    assert ledger.night(NIGHT) == replace(night, reported=False)


def test_the_first_time_of_a_status_is_kept(ledger):
    record(ledger, frame_of(Status.COPIED))
    first = cell(ledger, "copied")
    assert abs(datetime.fromisoformat(first) - datetime.now(UTC)) < timedelta(minutes=1)
    for status in (Status.HELD, Status.COPIED):
        time.sleep(0.005)
        record(ledger, frame_of(status))
    assert cell(ledger, "copied") == first < cell(ledger, "held")
    assert cell(ledger, "delivered") == "" and cell(ledger, "status") == "copied"


def test_a_transaction_is_written_whole_or_not(ledger):
    with pytest.raises(KeyError), ledger.transaction():
        ledger.record([FRAME])
        ledger.set_night(NIGHT, judged="x")
        raise KeyError
    assert ledger.frames(NIGHT) == [] and ledger.nights() == {}
    record(ledger, FRAME)
    assert ledger.frames(NIGHT) == [FRAME]


@pytest.mark.parametrize("status", sorted(DELIVERY))
def test_what_was_delivered_is_never_taken_back(ledger, status):
    delivered = frame_of(status)
    record(ledger, delivered)
    for other in sorted(set(Status) - DELIVERY):
        record(ledger, replace(frame_of(other), sequence="S_y", product="q.fits"))
        assert ledger.frames(NIGHT) == [delivered]
    # Once it is to be delivered again it is judged again.
    ledger.note_night(NIGHT, redeliver=1)
    held = replace(frame_of(Status.HELD), fault=Fault(Reason.UNSOLVED), product="")
    record(ledger, held)
    assert ledger.frames(NIGHT) == [held]


def test_what_was_delivered_again_is_not_taken_back(ledger):
    ledger.note_night(NIGHT, redeliver=1)
    record(ledger, frame_of(Status.DELIVERED, delivery=1))
    record(ledger, frame_of(Status.ASSIGNED))
    assert ledger.frames(NIGHT) == [frame_of(Status.DELIVERED, delivery=1)]


def test_a_confirmed_frame_has_the_first_time_of_it(ledger):
    record(ledger, frame_of(Status.DELIVERED))
    enter(ledger, replace(PRODUCT, confirmed=None))
    for hours in (1, 2):
        ledger.confirm(["p.fits"], LATER + timedelta(hours=hours))
    assert ledger.product("p.fits") == PRODUCT
    assert ledger.frames(NIGHT) == [frame_of(Status.CONFIRMED)]
    assert datetime.fromisoformat(cell(ledger, "confirmed")) == PRODUCT.confirmed


def test_views_are_known_by_their_digests(ledger):
    ledger.set_views(NIGHT, {"night.html": "1", "archived/p.csv": "2"})
    ledger.set_views(NIGHT, {"night.html": "3"})
    ledger.set_views("20260306", {"night.html": "4"})
    assert ledger.views(NIGHT) == {"night.html": "3", "archived/p.csv": "2"}
    assert ledger.views("20260307") == {}


def test_a_fault_is_reported_once_until_it_is_another(ledger):
    held = replace(FRAME, status=Status.HELD)
    record(ledger, held, replace(FRAME, file="good.fits"))
    assert ledger.unreported(NIGHT) == [held]
    ledger.report([held])
    assert ledger.unreported(NIGHT) == []
    record(ledger, held)
    assert ledger.unreported(NIGHT) == []
    other = replace(held, fault=Fault(Reason.TRUNCATED))
    record(ledger, other)
    assert ledger.unreported(NIGHT) == [other]


def test_transfers_are_counted_by_programme(ledger):
    other = replace(PRODUCT, name="q.fits", programme="110.23WX.001")
    enter(ledger, PRODUCT, replace(PRODUCT, name="r.fits"), other)
    assert ledger.transfers() == []
    ledger.note_night(NIGHT, programme=PRODUCT.programme, reported=1)
    ledger.note_night("20260306", reported=1)
    assert ledger.transfers() == [
        Transfer(NIGHT, PRODUCT.programme, "110.23WX.001", 1),
        Transfer(NIGHT, PRODUCT.programme, PRODUCT.programme, 2),
        Transfer("20260306", "", "", 0),
    ]


@pytest.mark.parametrize("status", Status)
def test_open_nights_have_a_frame_without_outcome(ledger, status):
    ledger.note_night(NIGHT)
    assert ledger.open_nights() == ledger.held_nights() == []
    record(ledger, frame_of(status))
    is_open = status not in DONE | {Status.HELD}
    assert ledger.open_nights() == ([NIGHT] if is_open else [])
    assert ledger.held_nights() == ([NIGHT] if status is Status.HELD else [])
    is_due = status in (Status.ASSIGNED, Status.STAGED)
    assert ledger.due(NIGHT) == ([("p.fits", "S_x", status, 24)] if is_due else [])
    ledger.note_night(NIGHT, redeliver=1)
    assert bool(ledger.due(NIGHT)) == (is_due or status in DONE)


def test_notes_are_kept(ledger):
    assert ledger.text("asked") == ""
    ledger.note("asked", "once")
    ledger.note("asked", "twice")
    assert ledger.text("asked") == "twice" and ledger.text("other") == ""


# The file


@pytest.mark.parametrize("content", [b"not a database, but long enough for one" * 40, b"\0" * 4096])
def test_other_files_than_databases_are_named(tmp_path, content):
    path = ledger_path(tmp_path)
    path.write_bytes(content)
    with pytest.raises(LedgerError) as error:
        Ledger(path)
    assert str(path) in str(error.value) and "docs/operations.md" in str(error.value)
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_a_ledger_is_named(tmp_path):
    ledger_path(tmp_path).mkdir()
    with pytest.raises(LedgerError, match=str(ledger_path(tmp_path))):
        Ledger(ledger_path(tmp_path))


def test_a_ledger_that_is_damaged_later_is_named(ledger):
    connection = sqlite3.connect(ledger.path)
    connection.execute("DROP TABLE frames")
    connection.close()
    with pytest.raises(LedgerError, match=f"{ledger.path}: no such table: frames"):
        ledger.frames(NIGHT)
    with pytest.raises(LedgerError, match="no such table"):
        record(ledger, FRAME)


def test_a_ledger_of_a_later_form_is_refused(tmp_path):
    path = ledger_path(tmp_path)
    with Ledger(path) as ledger:
        record(ledger, FRAME)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={FORM + 1}")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(LedgerError, match=f"{path}: a ledger of form {FORM + 1}, {FORM} is"):
        Ledger(path)
    assert path.read_bytes() == content


def test_statistics_of_pixels_are_kept_until_others_are_taken(ledger):
    first, second = Measures(600.5, 20, 550, 700, 0.0), Measures(610, 21, 560, 710, 0.25)
    record(ledger, replace(FRAME, measures=first))
    record(ledger, replace(FRAME, status=Status.HELD))
    assert ledger.measures(NIGHT) == {FRAME.key: first}
    record(ledger, replace(FRAME, measures=second), replace(FRAME, version=1, measures=first))
    assert ledger.measures(NIGHT) == {FRAME.key: second, (FRAME.file, 1): first}
    assert ledger.measures("20260306") == {}


def test_a_ledger_of_form_1_gets_its_missing_table(tmp_path):
    path = ledger_path(tmp_path)
    with Ledger(path) as ledger:
        record(ledger, FRAME)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE measures")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Ledger(path).frames(NIGHT), range(4)))
    assert found == [[FRAME]] * 4
    measured = replace(FRAME, measures=Measures(1, 2, 3, 4, 0.5))
    with Ledger(path) as ledger:
        record(ledger, measured)
        assert ledger.measures(NIGHT) == {FRAME.key: measured.measures}


def test_several_processes_may_create_a_ledger(tmp_path):
    def begin(number: int) -> None:
        with Ledger(ledger_path(tmp_path)) as ledger:
            record(ledger, replace(FRAME, file=f"{number}.fits"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(16)))
    with Ledger(ledger_path(tmp_path)) as ledger:
        assert len(ledger.frames(NIGHT)) == 16


def test_a_ledger_in_memory_is_saved_whole(tmp_path):
    path = ledger_path(tmp_path)
    with Ledger(":memory:", path) as ledger:
        record(ledger, FRAME)
        assert not path.exists()
        with Ledger(":memory:", path) as other:
            ledger.save()
            record(ledger, replace(FRAME, file="later.fits"))
            ledger.save()
            # Another run, which found no ledger either, goes on with this one.
            other.save()
            assert len(other.frames(NIGHT)) == 2 and other.identity == ledger.identity
    with Ledger(path) as ledger:
        assert [frame.file for frame in ledger.frames(NIGHT)] == [FRAME.file, "later.fits"]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


# Products about to be published


INTENT = Intent(replace(PRODUCT, delivered=None, confirmed=None), ".p.fits.1.part")


def test_staged_frames_wait_for_their_product(ledger):
    record(ledger, frame_of(Status.ASSIGNED))
    ledger.stage([INTENT], [frame_of(Status.ASSIGNED)])
    assert ledger.intents(NIGHT) == ledger.intents(NIGHT, "S_x") == [INTENT]
    assert ledger.intents(NIGHT, "S_y") == ledger.intents("20260306") == []
    assert ledger.frames(NIGHT) == [frame_of(Status.STAGED)]
    assert ledger.products(NIGHT) == [] and ledger.open_nights() == [NIGHT]


NOT_DUE = {
    "never seen": None,
    "only copied": frame_of(Status.COPIED),
    "held back": frame_of(Status.HELD),
    "staged by another": frame_of(Status.STAGED),
    "delivered": frame_of(Status.DELIVERED),
    "delivered again": frame_of(Status.DELIVERED, delivery=1),
    "in another product": replace(frame_of(Status.ASSIGNED), product="q.fits"),
    "of another version": replace(frame_of(Status.ASSIGNED), version=1),
}


@pytest.mark.parametrize("why", NOT_DUE)
def test_what_is_not_to_be_delivered_is_not_staged(ledger, why):
    good = replace(frame_of(Status.ASSIGNED), file="good.fits")
    known = [good, *([NOT_DUE[why]] if NOT_DUE[why] else [])]
    if why == "delivered again":
        ledger.note_night(NIGHT, redeliver=1)
    record(ledger, *known)
    with pytest.raises(Overtaken, match="a, 'b'.fits is no longer to be delivered in p.fits"):
        ledger.stage([INTENT], [good, frame_of(Status.ASSIGNED)])
    assert sorted(ledger.frames(NIGHT), key=str) == sorted(known, key=str)
    assert ledger.intents(NIGHT) == []


@pytest.mark.parametrize("status", sorted(DONE))
def test_what_is_to_be_delivered_again_is_staged(ledger, status):
    ledger.note_night(NIGHT, redeliver=1)
    record(ledger, frame_of(status))
    ledger.stage([INTENT], [frame_of(status)])
    assert ledger.frames(NIGHT) == [frame_of(Status.STAGED)]


def test_booked_products_are_delivered(ledger):
    other = replace(frame_of(Status.ASSIGNED), file="other.fits", product="q.fits")
    record(ledger, frame_of(Status.ASSIGNED), other)
    ledger.stage([INTENT], [frame_of(Status.ASSIGNED)])
    begin = datetime.now(UTC) - timedelta(milliseconds=1)
    ledger.book([INTENT])
    [product] = ledger.products(NIGHT)
    assert begin <= product.delivered <= datetime.now(UTC)
    assert replace(product, delivered=None) == INTENT.product
    delivered = frame_of(Status.DELIVERED, delivery=INTENT.product.delivery)
    assert ledger.frames(NIGHT) == [delivered, other]
    assert ledger.intents(NIGHT) == [] and ledger.delivered_since(begin) == [NIGHT]
    assert ledger.delivered_since(datetime.now(UTC) + timedelta(seconds=1)) == []
    # Once more, by a run that found the intent at the same time: nothing changes but the time.
    ledger.book([INTENT])
    assert ledger.frames(NIGHT) == [delivered, other] and len(ledger.products(NIGHT)) == 1


def test_withdrawn_products_are_to_be_made_again(ledger):
    record(ledger, frame_of(Status.ASSIGNED))
    ledger.stage([INTENT], [frame_of(Status.ASSIGNED)])
    ledger.withdraw([INTENT])
    assert ledger.intents(NIGHT) == ledger.products(NIGHT) == []
    assert ledger.frames(NIGHT) == [frame_of(Status.ASSIGNED)]
    ledger.stage([INTENT], [frame_of(Status.ASSIGNED)])


# Publishing


@pytest.fixture(params=["renameat2", "no such call", "no such file system"])
def any_system(request, monkeypatch):
    """Systems with a rename that never replaces, and others."""

    def unknown(*_) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    calls = {"no such call": None, "no such file system": unknown}
    if request.param in calls:
        monkeypatch.setattr(publish, "_renameat2", calls[request.param])


@pytest.fixture
def archive(tmp_path):
    """An empty archive directory."""
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


def staged(ledger: Ledger, archive: Path, pixels: bytes = b"\1\2", **values) -> Intent:
    """Return a product that is about to be published, of one frame."""
    made = product_file(archive.parent / "p.fits", pixels)
    intent = Intent(
        product_of(made, NIGHT, target="S_x", **values), stage(made, archive, 0o644, ledger)
    )
    record(ledger, frame_of(Status.ASSIGNED))
    ledger.stage([intent], [frame_of(Status.ASSIGNED)])
    return intent


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_rename_never_replaces(tmp_path, any_system):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    with pytest.raises(FileExistsError):
        rename_without_replacing(source, target)
    assert source.read_text() == "new" and target.read_text() == "old"
    target.unlink()
    target.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        rename_without_replacing(source, target)
    target.unlink()
    rename_without_replacing(source, target)
    assert target.read_text() == "new" and not source.exists()
    with pytest.raises(FileNotFoundError):
        rename_without_replacing(source, tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        rename_without_replacing(target, tmp_path / "no folder" / "target")


def test_a_staged_product_is_published_and_booked(ledger, archive, any_system):
    intent = staged(ledger, archive)
    assert names_in(archive) == [intent.hidden] and intent.hidden.startswith(".")
    assert publish_intents(ledger, archive, ledger.intents(NIGHT, "S_y")) == {} and names_in(
        archive
    ) == [intent.hidden]
    assert publish_intents(ledger, archive, ledger.intents(NIGHT, "S_x")) == {}
    assert names_in(archive) == ["p.fits"]
    assert (archive / "p.fits").read_bytes() == (archive.parent / "p.fits").read_bytes()
    [product] = ledger.products(NIGHT)
    assert replace(product, delivered=None) == intent.product
    assert {frame.status for frame in ledger.frames(NIGHT)} == {Status.DELIVERED}
    assert publish_intents(ledger, archive, ledger.intents(NIGHT)) == {}


@pytest.mark.parametrize("collected", [False, True])
def test_a_hidden_file_that_is_gone_was_published(ledger, archive, collected, any_system):
    intent = staged(ledger, archive)
    # A run that is killed between the rename and the ledger leaves this.
    os.rename(archive / intent.hidden, archive / "p.fits")
    if collected:
        (archive / "p.fits").unlink()
    before = names_in(archive)
    assert publish_intents(ledger, archive, ledger.intents(NIGHT)) == {}
    assert names_in(archive) == before
    assert [product.name for product in ledger.products(NIGHT)] == ["p.fits"]
    assert {frame.status for frame in ledger.frames(NIGHT)} == {Status.DELIVERED}


def test_the_same_product_that_is_there_stays(ledger, archive, any_system):
    intent = staged(ledger, archive)
    product_file(archive / "p.fits", date="2026-01-02T00:00:00.000")
    there = (archive / "p.fits").stat()
    assert publish_intents(ledger, archive, ledger.intents(NIGHT)) == {}
    assert names_in(archive) == ["p.fits"]
    assert (archive / "p.fits").stat().st_ino == there.st_ino
    [product] = ledger.products(NIGHT)
    # The ledger has the file that ESO collects, not the one that was removed.
    assert product.checksum == product_of(archive / "p.fits", NIGHT).checksum
    assert product.checksum != intent.product.checksum


@pytest.mark.parametrize("content", [b"", b"foreign", None])
def test_a_name_that_is_taken_withdraws_the_intent(ledger, archive, content, any_system):
    intent = staged(ledger, archive)
    foreign = archive / "p.fits"
    if content is None:
        product_file(foreign, b"\3\4")
    else:
        foreign.write_bytes(content)
    before = foreign.read_bytes()
    failed = publish_intents(ledger, archive, ledger.intents(NIGHT))
    assert failed.keys() == {"p.fits"}
    assert failed["p.fits"].startswith(f"{foreign} is another file than the product of this name")
    assert names_in(archive) == ["p.fits"] and foreign.read_bytes() == before
    assert ledger.intents(NIGHT) == ledger.products(NIGHT) == []
    assert ledger.frames(NIGHT) == [frame_of(Status.ASSIGNED)]
    with pytest.raises(NameTaken):
        again = Intent(intent.product, stage(archive.parent / "p.fits", archive, 0o644, ledger))
        publish.publish(archive, again, None)


def test_only_the_last_delivery_of_a_name_is_replaced(ledger, archive, any_system):
    earlier = product_of(product_file(archive / "p.fits", b"\3\4"), NIGHT)
    enter(ledger, replace(earlier, delivered=LATER))
    ledger.note_night(NIGHT, redeliver=1)
    intent = staged(ledger, archive, delivery=1)
    assert publish_intents(ledger, archive, ledger.intents(NIGHT)) == {}
    assert names_in(archive) == ["p.fits"]
    assert (archive / "p.fits").read_bytes() == (archive.parent / "p.fits").read_bytes()
    assert ledger.product("p.fits").datasum == intent.product.datasum != earlier.datasum


def test_after_an_error_of_the_disk_the_intent_stays(ledger, archive, monkeypatch):
    intent = staged(ledger, archive)

    def broken(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(source))

    with monkeypatch.context() as patched:
        patched.setattr(publish, "rename_without_replacing", broken)
        failed = publish_intents(ledger, archive, ledger.intents(NIGHT))
    assert failed == {"p.fits": f"{archive}: Input/output error"}
    assert ledger.intents(NIGHT) == [intent] and ledger.products(NIGHT) == []
    assert ledger.frames(NIGHT) == [frame_of(Status.STAGED)]
    assert publish_intents(ledger, archive, ledger.intents(NIGHT)) == {} and names_in(archive) == [
        "p.fits"
    ]


def test_a_product_that_fails_does_not_stop_others(ledger, archive):
    intents = []
    for name in ("a.fits", "b.fits", "c.fits"):
        made = product_file(archive.parent / name)
        intents.append(Intent(product_of(made, NIGHT), stage(made, archive, 0o644, ledger)))
    ledger.stage(intents, [])
    (archive / "b.fits").write_bytes(b"foreign")
    assert publish_intents(ledger, archive, intents).keys() == {"b.fits"}
    assert [product.name for product in ledger.products(NIGHT)] == ["a.fits", "c.fits"]
    assert names_in(archive) == ["a.fits", "b.fits", "c.fits"]
    assert ledger.intents(NIGHT) == []


def test_what_another_product_replaces_is_taken_back(ledger, archive):
    product = product_of(product_file(archive / "p.fits"), NIGHT)
    enter(ledger, product)
    product_file(archive / "p.fits", b"\3\4")
    take_back(ledger, archive, product)
    assert names_in(archive) == ["p.fits"] and ledger.products(NIGHT) == [product], "not ours"
    product_file(archive / "p.fits")
    take_back(ledger, archive, product)
    assert names_in(archive) == [] and ledger.products(NIGHT) == []
    enter(ledger, product)
    take_back(ledger, archive, product)
    assert ledger.products(NIGHT) == [product], "ESO has collected it"


# Hidden files


@pytest.fixture
def job():
    """A process that looks like a job that delivers."""
    words = [sys.executable, "-c", "import time; time.sleep(600)", "tmp1.archive.py"]
    with subprocess.Popen(words) as process:
        yield process
        process.kill()


def test_hidden_files_of_dead_jobs_only_are_removed(ledger, archive, job):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ended = subprocess.Popen([sys.executable, "-c", "", "tmp2.archive.py"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    ours, mine = f"p.fits.{ledger.identity}", f".p.fits.{ledger.identity}-{writer()}.part"
    left = {"dead": f".{ours}-{dead.pid}.part", "odd": f".{ours}-x.part", "mine": mine}
    left |= {"not asked for": f".{ours}-{ended.pid}.part"}
    left |= {"another program": f".{ours}-{os.getppid()}.part"}
    kept = {"living": f".{ours}-{job.pid}.part", "other": f".q.fits.{dead.pid}.part"}
    kept |= {"product": "p.fits", "longer": f".p.fits2.{ledger.identity}-{dead.pid}.part"}
    kept |= {"of another ledger": f".p.fits.01234567-{dead.pid}.part"}
    kept |= {"of another host": f".{ours}-{dead.pid}@elsewhere.part"}
    for name in (*left.values(), *kept.values()):
        (archive / name).write_text("old")
    made = product_file(archive.parent / "p.fits")
    assert stage(made, archive, 0o640, ledger) == mine
    assert names_in(archive) == sorted([*kept.values(), mine])
    assert (archive / mine).read_bytes() == made.read_bytes()
    assert (archive / mine).stat().st_mode & 0o777 == 0o640
    ended.wait()


def test_hidden_files_without_an_intent_go(ledger, archive, job):
    product = Product("p.fits", NIGHT, "p", "x", "d", 1, 1, "", "passed")
    intended = f".p.fits.{ledger.identity}-0.part"
    gone = [f".{name}.{ledger.identity}-0.part" for name in ("q.fits", "never-made.fits")]
    kept = [f".p.fits.{ledger.identity}-{job.pid}.part", ".q.fits.01234567-0.part", "p.fits"]
    ledger.stage([Intent(product, intended)], [])
    for name in (*gone, *kept, intended):
        (archive / name).write_text("old")
    remove_hidden(ledger, archive)
    assert names_in(archive) == sorted([*kept, intended])


@pytest.fixture
def other_file_system(monkeypatch):
    """Hard links fail, as between file systems."""

    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)


def test_a_product_is_linked_on_its_own_file_system(ledger, archive):
    made = product_file(archive.parent / "p.fits")
    hidden = archive / stage(made, archive, 0o604, ledger)
    assert hidden.stat().st_ino == made.stat().st_ino
    assert hidden.stat().st_mode & 0o777 == 0o604


def test_a_product_is_copied_to_another_file_system(ledger, archive, other_file_system):
    intent = staged(ledger, archive)
    made = archive.parent / "p.fits"
    assert (archive / intent.hidden).read_bytes() == made.read_bytes()
    assert (archive / intent.hidden).stat().st_ino != made.stat().st_ino
    assert publish_intents(ledger, archive, ledger.intents(NIGHT)) == {} and names_in(archive) == [
        "p.fits"
    ]


def test_a_copy_that_is_not_the_product_is_not_left(
    ledger, archive, other_file_system, monkeypatch
):
    made = product_file(archive.parent / "p.fits")

    def other(stream, name: str):
        return hashlib.new(name, stream.read() + b"?")

    monkeypatch.setattr(hashlib, "file_digest", other)
    with pytest.raises(Damaged, match="p.fits did not arrive whole"):
        stage(made, archive, 0o644, ledger)
    assert names_in(archive) == []


def test_another_error_of_a_link_is_not_hidden(ledger, archive, monkeypatch):
    made = product_file(archive.parent / "p.fits")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        stage(made, archive, 0o644, ledger)
    assert names_in(archive) == []
