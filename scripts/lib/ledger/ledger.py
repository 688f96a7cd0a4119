"""The telescope's ledger: an SQLite database with a record for every frame and product ever seen.

It lies outside the nights' folders and outside Snakemake: whatever is removed there, what was
delivered stays known. A product is published in three steps, `stage`, a rename, `book`; whatever
kills a run between them, the next one finds the intent, looks whether the hidden file is still
there, and knows (see `scripts.lib.delivery.publish`).

Runs of several nights may write it side by side: a transaction waits until that of another process
has ended.
"""

import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.lib.files.durable import part_name, sync
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.records import (
    FileState,
    Frame,
    Intent,
    Measures,
    Night,
    Outcomes,
    Product,
    Status,
    Transfer,
)

FILE = "ledger.sqlite"
FORM = 2  # of the database; a later form is not understood
WAIT = 120  # s: for another process that writes

# The columns of a frame's record in the order of its fields; `Fault` and `FileState` take several.
FRAME = """
  night TEXT NOT NULL, file TEXT NOT NULL, version INTEGER NOT NULL,
  bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  datasum INTEGER, header_sum INTEGER, pixel_sum INTEGER,
  status TEXT NOT NULL, reason TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
  kind TEXT NOT NULL, object TEXT NOT NULL, filter TEXT NOT NULL, exptime REAL NOT NULL,
  date_obs TEXT NOT NULL, data_start INTEGER NOT NULL,
  naxis1 INTEGER NOT NULL, naxis2 INTEGER NOT NULL,
  eso_name TEXT NOT NULL, sequence TEXT NOT NULL, product TEXT NOT NULL, programme TEXT NOT NULL,
  delivery INTEGER NOT NULL"""
PRODUCT = """
  name TEXT PRIMARY KEY, night TEXT NOT NULL, target TEXT NOT NULL, programme TEXT NOT NULL,
  dp_id TEXT NOT NULL, bytes INTEGER NOT NULL, datasum INTEGER NOT NULL, checksum TEXT NOT NULL,
  verdict TEXT NOT NULL, delivery INTEGER NOT NULL, delivered TEXT NOT NULL,
  confirmed TEXT NOT NULL"""
# When a frame came to a status first; the database's methods set these.
TIMES = "".join(f", {status} TEXT NOT NULL DEFAULT ''" for status in Status)
# Added by form 2.
MEASURES = """
CREATE TABLE measures (
  night TEXT NOT NULL, file TEXT NOT NULL, version INTEGER NOT NULL, median REAL NOT NULL,
  sigma REAL NOT NULL, p1 REAL NOT NULL, p99 REAL NOT NULL, saturated REAL NOT NULL,
  PRIMARY KEY (night, file, version)
) WITHOUT ROWID"""
SCHEMA = f"""
CREATE TABLE frames ({FRAME}{TIMES}, reported TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (night, file, version)) WITHOUT ROWID;
CREATE TABLE products ({PRODUCT}) WITHOUT ROWID;
CREATE INDEX products_of_night ON products (night);
CREATE INDEX products_by_dp_id ON products (dp_id);
CREATE TABLE intents ({PRODUCT}, hidden TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nights (
  night TEXT PRIMARY KEY, judged TEXT NOT NULL DEFAULT '', refused TEXT NOT NULL DEFAULT '',
  programme TEXT NOT NULL DEFAULT '', named INTEGER NOT NULL DEFAULT 0,
  redeliver INTEGER NOT NULL DEFAULT 0,
  snapshot TEXT NOT NULL DEFAULT '', listing TEXT NOT NULL DEFAULT '',
  retried TEXT NOT NULL DEFAULT '',
  reported INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE views (
  night TEXT NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (night, path)
) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
{MEASURES};
"""
FRAME_COLUMNS = [column.split()[0] for column in FRAME.split(",")]
SELECT_FRAMES = f"SELECT {', '.join(FRAME_COLUMNS)} FROM frames"
PRODUCT_COLUMNS = ", ".join(field.name for field in fields(Product))
SELECT_PRODUCTS = f"SELECT {PRODUCT_COLUMNS} FROM products"
SELECT_NIGHTS = f"SELECT {', '.join(field.name for field in fields(Night))} FROM nights"

DELIVERED = "status IN ('delivered', 'confirmed')"
# Of frames joined with their nights: somebody asked for their delivery again.
ASKED_AGAIN = f"{DELIVERED} AND delivery < coalesce(redeliver, 0)"
MAY_CHANGE = """
  frames.status NOT IN ('staged', 'delivered', 'confirmed')
  OR excluded.status IN ('staged', 'delivered', 'confirmed') OR frames.delivery <
  coalesce((SELECT redeliver FROM nights WHERE nights.night = frames.night), 0)"""
INSERT_FRAME = f"""
  INSERT INTO frames ({", ".join(FRAME_COLUMNS)}) VALUES ({", ".join("?" * len(FRAME_COLUMNS))})
  ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in FRAME_COLUMNS[3:])}
  WHERE {MAY_CHANGE}"""


class LedgerError(RuntimeError):
    """The ledger cannot be read or written; the message names it and says what to do."""


class Overtaken(RuntimeError):
    """Another process has delivered what this one was about to."""


class Ledger:
    """The ledger of one telescope: the database at ``path``, which is made if it is not there.

    One that is in memory can be saved ``later``; a job on another host is ``reading`` only. Raises
    `LedgerError` if the file is not a ledger, or one of a later version of this workflow.
    """

    def __init__(self, path: Path | str, later: Path | None = None, reading: bool = False):
        self.path, self.later, self.reading = path, later, reading
        self._connection = self._open(path)

    def _open(self, path: Path | str) -> sqlite3.Connection:
        """Return a connection to a database of the right form."""
        with self._explained():
            name = f"{Path(path).absolute().as_uri()}?mode=ro" if self.reading else path
            connection = sqlite3.connect(name, timeout=WAIT, isolation_level=None, uri=self.reading)
            # A commit is on the disk when it returns, its journal's folder entry included.
            connection.execute("PRAGMA synchronous=EXTRA")
            (form,) = connection.execute("PRAGMA user_version").fetchone()
            if 0 <= form < FORM:
                # Several processes may find no tables, or those of form 1, at the same time.
                connection.execute("BEGIN IMMEDIATE")
                (form,) = connection.execute("PRAGMA user_version").fetchone()
                if form < FORM:
                    for statement in (SCHEMA if form == 0 else MEASURES).split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={FORM}")
                connection.execute("COMMIT")
            elif form != FORM:
                raise LedgerError(
                    f"{path}: a ledger of form {form}, {FORM} is understood: it was written by "
                    "another version of this workflow"
                )
            return connection

    def save(self) -> None:
        """Write a ledger that is in memory to the disk, whole, and go on there.

        If another run has written it meanwhile, that one is the ledger. Call it under the lock for
        what nights share.
        """
        if self.later is None:
            return
        with self._explained():
            if not self.later.exists():
                part = part_name(self.later)
                part.unlink(missing_ok=True)
                disk = sqlite3.connect(part)
                self._connection.backup(disk)
                disk.close()
                os.rename(part, self.later)
                sync(self.later.parent)
            self._connection.close()
        self.path, self._connection, self.later = self.later, self._open(self.later), None

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the database's errors into `LedgerError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self.path}: {error}; what to do: docs/operations.md, The ledger"
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that is done inside, or nothing of it."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    def _column(self, query: str, *values: object) -> list[str]:
        return [value for (value,) in self._rows(query, *values)]

    # Frames

    def frames(self, night: str, product: str = "", sequence: str = "") -> list[Frame]:
        """Return the frames of a night, a product or a sequence that were ever seen, by file."""
        query = f"{SELECT_FRAMES} WHERE night = ? AND ? IN ('', product) AND ? IN ('', sequence)"
        rows = self._rows(f"{query} ORDER BY file, version", night, product, sequence)
        return [_frame(row) for row in rows]

    def record(self, frames: Iterable[Frame]) -> None:
        """Write frames, in the place of what was known of them; call it in a transaction.

        What was delivered meanwhile, by a job that outlived its run, stays delivered.
        """
        now = _text(datetime.now(UTC))
        by_status: dict[Status, list[tuple[Any, ...]]] = {}
        measured = []
        for frame in frames:
            by_status.setdefault(frame.status, []).append(_frame_row(frame))
            if frame.measures:
                measured.append((frame.night, frame.file, frame.version, *frame.measures))
        self._connection.executemany(
            f"INSERT OR REPLACE INTO measures VALUES ({', '.join('?' * 8)})", measured
        )
        for status, rows in by_status.items():
            self._connection.executemany(INSERT_FRAME, rows)
            # The first time that a frame has a status is kept.
            self._connection.executemany(
                f"UPDATE frames SET {status} = ? "
                f"WHERE night = ? AND file = ? AND version = ? AND status = ? AND {status} = ''",
                [(now, *row[:3], status) for row in rows],
            )

    def measures(self, night: str) -> dict[tuple[str, int], Measures]:
        """Return the statistics of a night's pixels, by the key of the frame."""
        query = "SELECT file, version, median, sigma, p1, p99, saturated FROM measures"
        rows = self._rows(f"{query} WHERE night = ?", night)
        return {(file, version): Measures(*values) for file, version, *values in rows}

    def worked(self, night: str) -> tuple[datetime | None, datetime | None]:
        """Return when the first frame of a night was copied and the last one delivered."""
        query = "SELECT min(nullif(copied, '')), max(nullif(delivered, '')) FROM frames"
        ((begin, end),) = self._rows(f"{query} WHERE night = ?", night)
        return _time(begin or ""), _time(end or "")

    def unreported(self, night: str) -> list[Frame]:
        """Return the held-back frames of a night of which no mail has said why."""
        query = f"{SELECT_FRAMES.replace(' FROM', ', reported FROM')} WHERE night = ?"
        rows = self._rows(f"{query} AND status = 'held'", night)
        held = [(_frame(row[:-1]), row[-1]) for row in rows]
        return [frame for frame, reported in held if reported != str(frame.fault)]

    def report(self, frames: Iterable[Frame]) -> None:
        """Write down that a mail has said why frames are held back."""
        with self.transaction():
            self._connection.executemany(
                "UPDATE frames SET reported = ? WHERE night = ? AND file = ? AND version = ?",
                [(str(f.fault), f.night, f.file, f.version) for f in frames],
            )

    # Products

    def products(self, night: str) -> list[Product]:
        """Return the products of a night that were delivered, by name."""
        rows = self._rows(f"{SELECT_PRODUCTS} WHERE night = ? ORDER BY name", night)
        return [_product(row) for row in rows]

    def product(self, name: str) -> Product | None:
        """Return a delivered product; None if it never was."""
        rows = self._rows(f"{SELECT_PRODUCTS} WHERE name = ?", name)
        return _product(rows[0]) if rows else None

    def named(self, dp_id: str) -> list[Product]:
        """Return the delivered products that ESO has under a name."""
        return [_product(row) for row in self._rows(f"{SELECT_PRODUCTS} WHERE dp_id = ?", dp_id)]

    def namesake(self, product: Product) -> Product | None:
        """Return another product, delivered or about to be, that ESO has under the same name.

        The product itself, as it was delivered before a request to deliver it again, is not one.
        """
        about = f"SELECT {PRODUCT_COLUMNS} FROM intents WHERE dp_id = ?"
        intended = [_product(row) for row in self._rows(about, product.dp_id)]
        for other in [*self.named(product.dp_id), *intended]:
            again = other.delivery < product.delivery and other.night == product.night
            if not (other.same_file(product) or again):
                return other
        return None

    def enter(self, products: Iterable[Product]) -> None:
        """Write delivered products; call it in a transaction."""
        self._connection.executemany(
            f"INSERT OR REPLACE INTO products VALUES ({', '.join('?' * 12)})",
            map(_product_row, products),
        )

    def forget(self, product: Product) -> None:
        """Write down that a product was taken back before ESO collected it."""
        with self.transaction():
            self._connection.execute("DELETE FROM products WHERE name = ?", (product.name,))

    def intents(self, night: str, target: str | None = None) -> list[Intent]:
        """Return the products of a night, or of a job, that are about to be published."""
        query = f"SELECT {PRODUCT_COLUMNS}, hidden FROM intents WHERE night = ? ORDER BY name"
        intents = [Intent(_product(row[:-1]), row[-1]) for row in self._rows(query, night)]
        return [one for one in intents if target in (None, one.product.target)]

    def hidden(self) -> set[str]:
        """Return the hidden names of all products that are about to be published."""
        return set(self._column("SELECT hidden FROM intents"))

    def stage(self, intents: Iterable[Intent], frames: Iterable[Frame]) -> None:
        """Write down that products are about to be published; from here on they may have been.

        Raises `Overtaken` if one of their frames is not to be delivered any more, or another night
        has a product that ESO would give the same name.
        """
        frames, intents = list(frames), list(intents)
        with self.transaction():
            for intent in intents:
                if other := self.namesake(intent.product):
                    raise Overtaken(
                        f"{intent.product.name} and {other.name} of night {other.night} would be "
                        f"{intent.product.dp_id} at ESO: the other one has been faster"
                    )
            for frame in frames:
                rows = self._rows(
                    "SELECT 1 FROM frames LEFT JOIN nights USING (night) WHERE night = ? AND "
                    "file = ? AND version = ? AND product = ? AND "
                    f"(status = 'assigned' OR {ASKED_AGAIN})",
                    *(frame.night, frame.file, frame.version, frame.product),
                )
                if not rows:
                    raise Overtaken(
                        f"{frame.file} is no longer to be delivered in {frame.product}: another "
                        "process has been faster"
                    )
            self._connection.executemany(
                f"INSERT INTO intents VALUES ({', '.join('?' * 13)})",
                [(*_product_row(intent.product), intent.hidden) for intent in intents],
            )
            self.record(replace(frame, status=Status.STAGED) for frame in frames)

    def book(self, intents: Iterable[Intent]) -> None:
        """Write down that products have been published."""
        now = datetime.now(UTC)
        with self.transaction():
            for intent in intents:
                product = replace(intent.product, delivered=now)
                self.enter([product])
                changes = "status = 'delivered', delivered = ?, delivery = ?"
                self._end(product, changes, _text(now), product.delivery)

    def withdraw(self, intents: Iterable[Intent]) -> None:
        """Write down that products have not been published and will not be as they are."""
        with self.transaction():
            for intent in intents:
                self._end(intent.product, "status = 'assigned'")

    def _end(self, product: Product, changes: str, *values: object) -> None:
        """Remove an intent, and change the frames of its product."""
        self._connection.execute("DELETE FROM intents WHERE name = ?", (product.name,))
        self._connection.execute(
            f"UPDATE frames SET {changes} WHERE night = ? AND product = ? AND status = 'staged'",
            (*values, product.night, product.name),
        )

    def confirm(self, names: Iterable[str], time: datetime) -> None:
        """Write down that ESO's archive shows products."""
        rows = [(_text(time), name) for name in names]
        with self.transaction():
            self._connection.executemany(
                "UPDATE products SET confirmed = ? WHERE name = ? AND confirmed = ''", rows
            )
            self._connection.executemany(
                "UPDATE frames SET status = 'confirmed', confirmed = ? "
                "WHERE product = ? AND status = 'delivered'",
                rows,
            )

    # Nights

    def nights(self) -> dict[str, Night]:
        """Return all nights of which anything is known."""
        return {row[0]: _night(row) for row in self._rows(f"{SELECT_NIGHTS} ORDER BY night")}

    def night(self, night: str) -> Night:
        """Return what is known of a night."""
        rows = self._rows(f"{SELECT_NIGHTS} WHERE night = ?", night)
        return _night(rows[0]) if rows else Night(night)

    def note_night(self, night: str, **changes: str | int) -> None:
        """Change what is known of a night as a whole."""
        with self.transaction():
            self.set_night(night, **changes)

    def set_night(self, night: str, **changes: str | int) -> None:
        """Change what is known of a night as a whole; call it in a transaction."""
        self._connection.execute("INSERT OR IGNORE INTO nights (night) VALUES (?)", (night,))
        for name, value in changes.items():
            self._connection.execute(
                f"UPDATE nights SET {name} = ? WHERE night = ?", (value, night)
            )

    def open_nights(self) -> list[str]:
        """Return the nights with a frame that has no outcome yet."""
        return self._column(
            "SELECT DISTINCT night FROM frames WHERE status IN ('seen', 'copied', 'assigned', "
            "'staged') UNION SELECT night FROM intents "
            f"UNION SELECT night FROM frames JOIN nights USING (night) WHERE {ASKED_AGAIN} "
            "ORDER BY 1"
        )

    def held_nights(self) -> list[str]:
        """Return the nights with a frame that is held back for what it says of itself."""
        return self._column("SELECT DISTINCT night FROM frames WHERE status = 'held' ORDER BY 1")

    def delivered_since(self, time: datetime) -> list[str]:
        """Return the nights of which something was delivered since a time."""
        query = "SELECT DISTINCT night FROM products WHERE delivered >= ? ORDER BY 1"
        return self._column(query, _text(time))

    def due(self, night: str) -> list[tuple[str, str, Status, int]]:
        """Return product, sequence, status and pixels' bytes of frames that are to be published."""
        rows = self._rows(
            "SELECT product, sequence, status, sum(2 * naxis1 * naxis2) FROM frames "
            "LEFT JOIN nights USING (night) "
            f"WHERE night = ? AND (status IN ('assigned', 'staged') OR {ASKED_AGAIN}) "
            "GROUP BY 1, 2, 3",
            night,
        )
        return [(*names, Status(status), size) for *names, status, size in rows]

    def outcomes(self, night: str) -> Outcomes:
        """Return what a night's frames have come to, without reading each."""
        is_open = f"status IN ('seen', 'copied', 'assigned', 'staged') OR {ASKED_AGAIN}"
        counted = is_open, "status = 'held'", "reason IN ('NOT_COPIED', 'GONE')"
        sums = ", ".join(f"coalesce(sum({condition}), 0)" for condition in counted)
        query = f"SELECT {sums} FROM frames LEFT JOIN nights USING (night) WHERE night = ?"
        return Outcomes(*self._rows(query, night)[0])

    def is_delivered(self, night: str) -> bool:
        """Return whether a frame of a night was delivered, or may have been."""
        query = f"SELECT 1 FROM frames WHERE night = ? AND (status = 'staged' OR {DELIVERED})"
        return bool(self._rows(f"{query} LIMIT 1", night))

    def delivered(self, night: str) -> tuple[int, int]:
        """Return how many frames of a night were delivered, and their bytes at the source."""
        query = f"SELECT count(*), coalesce(sum(bytes), 0) FROM frames WHERE {DELIVERED}"
        ((count, size),) = self._rows(f"{query} AND night = ?", night)
        return count, size

    def state(self) -> tuple[int, int]:
        """Return what changes whenever the ledger is written."""
        ((version,),) = self._rows("PRAGMA data_version")
        return version, self._connection.total_changes

    def transfers(self) -> list[Transfer]:
        """Return the products of each night that was reported, counted by programme."""
        rows = self._rows(
            "SELECT n.night, n.programme, coalesce(p.programme, ''), count(p.name) FROM nights n "
            "LEFT JOIN products p USING (night) WHERE n.reported GROUP BY 1, 2, 3 ORDER BY 1, 3"
        )
        return [Transfer(*row) for row in rows]

    # What was written from the ledger, and notes

    def views(self, night: str) -> dict[str, str]:
        """Return the digests of a night's files that were written from the ledger, by path."""
        return dict(self._rows("SELECT path, digest FROM views WHERE night = ?", night))

    def set_views(self, night: str, digests: dict[str, str]) -> None:
        """Write down what files of a night were written from the ledger."""
        with self.transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO views VALUES (?, ?, ?)",
                [(night, path, digest) for path, digest in digests.items()],
            )

    @property
    def identity(self) -> str:
        """A short text that no other ledger has."""
        if not self.text("identity"):
            with self.transaction():
                # Another run may have noted one just now.
                self._connection.execute(
                    "INSERT OR IGNORE INTO notes VALUES ('identity', ?)", (uuid.uuid4().hex[:8],)
                )
        return self.text("identity")

    def text(self, name: str) -> str:
        """Return a note; empty if there is none."""
        return "".join(self._column("SELECT text FROM notes WHERE name = ?", name))

    def note(self, name: str, text: str) -> None:
        """Keep a note."""
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))


def ledger_path(workdir: Path) -> Path:
    """Return the path of the ledger of a working directory."""
    return workdir / FILE


# Records as rows of the database


def _printable(text: str) -> str:
    """Return a text that no table, page or terminal takes for more than text."""
    signs = (c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return "".join(signs).encode("utf-8", "backslashreplace").decode()


def _text(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="milliseconds")


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _frame_row(frame: Frame) -> tuple[Any, ...]:
    fault = frame.fault
    return (
        *(frame.night, frame.file, frame.version, *frame.source),
        *(frame.datasum, frame.header_sum, frame.pixel_sum, frame.status),
        *((fault.reason.name, fault.subject, _printable(fault.detail)) if fault else ("", "", "")),
        *(frame.kind, frame.object, frame.filter, frame.exptime, _text(frame.date_obs)),
        *(frame.data_start, frame.naxis1, frame.naxis2),
        *(frame.eso_name, frame.sequence, frame.product, frame.programme, frame.delivery),
    )


def _frame(row: tuple[Any, ...]) -> Frame:
    night, file, version, size, mtime_ns, datasum, header_sum, pixel_sum, status = row[:9]
    reason, subject, detail, *described, date_obs = row[9:17]
    return Frame(
        *(night, file, version, FileState(size, mtime_ns), datasum, header_sum, pixel_sum),
        *(Status(status), Fault(Reason[reason], detail, subject) if reason else None),
        *(*described, _time(date_obs), *row[17:]),
    )


def _product_row(product: Product) -> tuple[Any, ...]:
    *row, delivered, confirmed = astuple(product)
    return (*row, _text(delivered), _text(confirmed))


def _product(row: tuple[Any, ...]) -> Product:
    return Product(*row[:10], *map(_time, row[10:]))


def _night(row: tuple[Any, ...]) -> Night:
    night = Night(*row)
    return replace(night, named=bool(night.named), reported=bool(night.reported))
