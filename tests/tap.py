"""A TAP service and its token service on 127.0.0.1: rows in SQLite, answers in VOTable."""

import io
import json
import re
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from astropy.io.votable import writeto
from astropy.io.votable.tree import Info, Resource, TableElement, VOTableFile
from astropy.table import Table

USER = "pi@obs.example"
PASSWORD = "ünd <so>&weiter/+= 'x'"  # noqa: S105 - of a server that lives as long as its test
TOKEN = "eyJhbGciOi.SECRET-of-a-test.c2lnbmF0dXJl"  # noqa: S105 - the same
COLUMNS = ["dp_id", "origfile", "prog_id", "dp_cat", "dp_type", "mjd_obs", "instrument"]


class TapServer:
    """ESO's archive, as far as it is queried.

    Attributes
    ----------
    mood : str
        ok; slow (silent until the server is closed), drip (a byte now and then without an end),
        broken (HTTP 500), error (as TAP reports one), cut (rows are missing and it says so),
        page (HTTP 200 and no VOTable), mute token (no token in the answer), echo (refuses, and
        repeats what it was sent).
    queries : list of str
        What it was asked.
    """

    def __init__(self):
        self.mood = "ok"
        self.queries: list[str] = []
        self.logins: list[str] = []
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        # SQLite's name for a schema is that of a database.
        self.database.execute("ATTACH ':memory:' AS dbo")
        kinds = (f"{name} {'REAL' if name == 'mjd_obs' else 'TEXT'}" for name in COLUMNS)
        self.database.execute(f"CREATE TABLE dbo.raw ({', '.join(kinds)})")

    def ingest(self, *rows: dict) -> None:
        """Take rows into the archive."""
        with self.lock:
            for row in rows:
                marks = ", ".join("?" * len(COLUMNS))
                values = [row[name] for name in COLUMNS]
                self.database.execute(f"INSERT INTO dbo.raw VALUES ({marks})", values)

    def change(self, dp_id: str, **values) -> None:
        """Change a row."""
        with self.lock:
            for name, value in values.items():
                words = f"UPDATE dbo.raw SET {name} = ? WHERE dp_id = ?"
                assert self.database.execute(words, (value, dp_id)).rowcount == 1

    def forget(self, dp_id: str) -> None:
        """Remove a row."""
        with self.lock:
            words = "DELETE FROM dbo.raw WHERE dp_id = ?"
            assert self.database.execute(words, (dp_id,)).rowcount == 1

    def select(self, query: str, known: bool) -> list[tuple]:
        """Return the rows that answer a query; strangers see only calibrations."""
        with self.lock:
            if not known:
                query = query.replace(" WHERE ", " WHERE dp_type <> 'OBJECT' AND ")
            return self.database.execute(query).fetchall()

    def __enter__(self) -> "TapServer":
        handler = type("Handler", (Handler,), {"archive": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def settings(self) -> dict:
        """Return the settings of a configuration that queries it."""
        base = f"http://127.0.0.1:{self.port}"
        return {"confirm_service": f"{base}/tap_obs", "confirm_token_service": f"{base}/token"}


class Handler(BaseHTTPRequestHandler):
    archive: TapServer

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802
        address = urlsplit(self.path)
        given = {key: values[0] for key, values in parse_qs(address.query).items()}
        if address.path != "/token" or given.get("grant_type") != "password":
            return self.answer(404, "text/plain", b"no such thing")
        if self.archive.mood == "echo":
            return self.answer(401, "text/plain", f"no: {self.path} {given}".encode())
        if self.archive.mood == "mute token":
            return self.answer(200, "application/json", json.dumps({"no": given}).encode())
        if self.archive.mood == "moved":
            return self.redirect("http://127.0.0.1:1/" + address.query)
        if (given["username"], given["password"]) != (USER, PASSWORD):
            return self.answer(401, "application/json", b'{"error": "invalid_grant"}')
        self.archive.logins.append(given["username"])
        self.answer(200, "application/json", json.dumps({"id_token": TOKEN}).encode())

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        given = {key: values[0] for key, values in parse_qs(body).items()}
        if urlsplit(self.path).path != "/tap_obs/sync" or given["REQUEST"] != "doQuery":
            return self.answer(404, "text/plain", b"no such thing")
        authorization = self.headers["Authorization"]
        if authorization not in (None, f"Bearer {TOKEN}"):
            return self.answer(401, "text/plain", b"no such token")
        mood = self.archive.mood
        if mood == "slow":
            self.archive.ended.wait(60)
        elif mood == "drip":
            self.drip()
        elif mood == "broken":
            self.answer(500, "text/plain", f"sorry, {authorization}".encode())
        elif mood == "page":
            self.answer(200, "text/html", b"<html><body>Under maintenance</body></html>")
        elif mood == "error":
            text = f"no table dbo.raw for {authorization}"
            self.answer(400, "application/x-votable+xml", votable([], "ERROR", text))
        else:
            self.archive.queries.append(given["QUERY"])
            rows = self.archive.select(given["QUERY"], authorization is not None)
            rows = rows[: int(given["MAXREC"])]
            status = "OVERFLOW" if mood == "cut" else "OK"
            self.answer(200, "application/x-votable+xml", votable(rows, status))

    def redirect(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-votable+xml")
        self.end_headers()
        self.wfile.write(b'<?xml version="1.0"?>')
        while not self.archive.ended.wait(0.05):
            try:
                self.wfile.write(b" ")
                self.wfile.flush()
            except OSError:
                return


def votable(rows: list[tuple], status: str, text: str = "") -> bytes:
    """Return an answer in TAP's form: a table, and how the query went."""
    columns = [[("" if value is None else value) for value in c] for c in zip(*rows, strict=True)]
    columns = columns or [[] for _ in COLUMNS]
    kinds = [float if name == "mjd_obs" else "U80" for name in COLUMNS]
    file = VOTableFile()
    resource = Resource(type="results")
    file.resources.append(resource)
    info = Info(name="QUERY_STATUS", value=status)
    info.content = text or None
    resource.infos.append(info)
    if status != "ERROR":
        table = Table(columns, names=COLUMNS, dtype=kinds)
        resource.tables.append(TableElement.from_table(file, table))
    stream = io.BytesIO()
    writeto(file, stream)
    return stream.getvalue()


def wait_for(what, seconds: float = 300) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not asked in time"
        time.sleep(0.01)


def bounds_of(query: str) -> tuple[float, float]:
    """Return between which dates a query asks."""
    begin, end = re.findall(r"mjd_obs (?:>=|<) ([0-9.]+)", query)
    return float(begin), float(end)
