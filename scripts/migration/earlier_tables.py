"""The ledger of a working directory; made from the tables of earlier versions where it is missing.

Until version 0.2 the state of a delivery lay in several tables: ``ledger/{night}.csv``, and in a
night's folder ``ingested.csv``, ``archived/*.csv``, ``archived/promised/*.csv``, ``reported``. They
are read once. What was delivered is taken from the receipts, so they also bring back a ledger that
was lost, but for what has no receipt.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from scripts.lib.files.tables import read_table
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger, LedgerError, ledger_path
from scripts.lib.ledger.records import NOT_COPIED, FileState, Frame, Product, Status
from scripts.lib.nights.times import parse_date

NIGHTS = "[0-9]" * 8
MEMORY = ":memory:"


def open_ledger(workdir: Path, archive: Path) -> Ledger:
    """Return the ledger of a working directory.

    Where there is none yet, it is made in memory, from what earlier versions left, and is on the
    disk once `Ledger.save` was called: looking at a working directory changes nothing in it.

    Parameters
    ----------
    archive : Path
        The archive directory.

    Raises
    ------
    LedgerError
        If it, or a table of an earlier version, cannot be read.
    """
    path = ledger_path(workdir)
    if path.exists():
        return Ledger(path)
    ledger = Ledger(MEMORY, path)
    folders = sorted(folder for folder in workdir.glob(NIGHTS) if folder.is_dir())
    lines = {path.stem: path for path in (workdir / "ledger").glob(f"{NIGHTS}.csv")}
    try:
        for night in sorted({*lines, *(folder.name for folder in folders)}):
            read_night(ledger, night, workdir / night, lines.get(night), archive)
    except (KeyError, ValueError, OSError) as error:
        raise LedgerError(f"{path} cannot be made from the tables of before: {error}") from error
    return ledger


def read_night(ledger: Ledger, night: str, folder: Path, lines: Path | None, archive: Path) -> None:
    """Enter what earlier versions knew of a night.

    Parameters
    ----------
    folder : Path
        ``<workdir>/{night}``.
    lines : Path or None
        Table of the deliveries of this night.
    """
    products = {product.name: product for product in read_lines(night, lines)}
    frames: dict[str, Frame] = {}
    # What these say is found out again where they are damaged.
    with suppress(KeyError, ValueError):
        for row in rows_of(folder, "ingested.csv"):
            frames[row["file"]] = arrival(night, row)
        for row in rows_of(folder, "frames.csv"):
            if row["status"] == "held" and row["file"] in frames:
                frames[row["file"]] = held(frames[row["file"]], row["reason"])
    for row in rows_of(folder, "archived/promised/*.csv"):
        # It may have been delivered: what is in the archive directory was, or has a line.
        there = row["product"] in products or (archive / row["product"]).exists()
        status = Status.DELIVERED if there else Status.ASSIGNED
        frames[row["file"]] = assigned(frames.get(row["file"]), night, row, status)
    for row in rows_of(folder, "archived/*.csv"):
        if row["status"] == "ok":
            frames[row["file"]] = assigned(frames.get(row["file"]), night, row, Status.DELIVERED)
            products[row["product"]] = product_of(night, row)
        elif row["file"] not in frames or frames[row["file"]].status is not Status.DELIVERED:
            known = assigned(frames.get(row["file"]), night, row, Status.HELD)
            frames[row["file"]] = held(known, row["reason"])
    mailed = folder / "reported"
    marks = set(mailed.read_text().split()) if mailed.exists() else set()
    programmes = {frame.programme for frame in frames.values()} - {""}
    with ledger.transaction():
        ledger.set_night(night, reported=int((folder / "night.html").exists()))
        if len(programmes) == 1:
            ledger.set_night(night, programme=programmes.pop())
        ledger.record(frames.values())
        ledger.enter(products.values())
    known_to_all = [f for f in frames.values() if f.fault and mark(f) in marks]
    ledger.report(known_to_all)


def rows_of(folder: Path, pattern: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a night's tables.

    Names that are not UTF-8 were taken once; no text can hold them as they are.
    """
    for path in sorted(folder.glob(pattern)):
        if not path.name.startswith("."):
            for row in read_table(path):
                yield {
                    key: value.encode(errors="backslashreplace").decode()
                    for key, value in row.items()
                }


def read_lines(night: str, path: Path | None) -> Iterator[Product]:
    """Yield the products of a table of deliveries; a line that a power cut tore does not count."""
    if path is None:
        return
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        values = line.split(",")
        if len(values) == 6 and values[2].isdigit() and values[3].isdigit():
            dp_id, name, size, datasum, checksum, delivered = values
            yield Product(
                *(name, night, name.removesuffix(".fits"), "", dp_id, int(size), int(datasum)),
                checksum,
                "passed",
                delivered=parse_date(delivered),
            )


def arrival(night: str, row: dict[str, str]) -> Frame:
    """Return the frame of a row of ``ingested.csv``."""
    state = FileState(int(row["bytes"]), int(row["mtime_ns"]))
    datasum = int(row["datasum"]) if row["datasum"] else None
    if row["status"] == "copied":
        return Frame(night, row["file"], 0, state, datasum, status=Status.COPIED)
    fault = Fault(Reason.NOT_COPIED, row["reason"])
    return Frame(night, row["file"], 0, NOT_COPIED, status=Status.HELD, fault=fault)


def assigned(known: Frame | None, night: str, row: dict[str, str], status: Status) -> Frame:
    """Return the frame of a row of a receipt."""
    datasum = int(row["datasum"]) if row["datasum"] else None
    return Frame(
        night,
        row["file"],
        0,
        known.source if known else NOT_COPIED,
        datasum=datasum,
        pixel_sum=datasum,
        status=status,
        kind=row["kind"],
        object=row["object"],
        filter=row["filter"],
        exptime=float(row["exptime"] or 0),
        date_obs=parse_date(row["date_obs"]) if row["date_obs"] else None,
        data_start=int(row["data_start"] or 0),
        naxis1=int(row["naxis1"] or 0),
        naxis2=int(row["naxis2"] or 0),
        eso_name=row["eso_name"],
        sequence=row["sequence"],
        product=row["product"],
        programme=row.get("programme", ""),
    )


def held(frame: Frame, reason: str) -> Frame:
    """Return a frame as held back for a reason that has no code yet."""
    return replace(frame, status=Status.HELD, fault=Fault(Reason.OTHER, reason))


def product_of(night: str, row: dict[str, str]) -> Product:
    """Return the product of a row of a receipt."""
    return Product(
        name=row["product"],
        night=night,
        target=row["product"].removesuffix(".fits"),
        programme=row["programme"],
        dp_id=row.get("dp_id", ""),
        bytes=int(row["product_bytes"]),
        datasum=int(row["product_datasum"]),
        checksum=row["product_checksum"],
        verdict=row.get("verdict", "passed"),
        delivered=parse_date(row["delivered"]),
    )


def mark(frame: Frame) -> str:
    """Return the mark by which an earlier version knew what a mail had reported."""
    reason = frame.fault.detail if frame.fault else ""
    text = f"{frame.file}\t{reason}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
