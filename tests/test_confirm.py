"""Confirmation of deliveries by a real TAP service on loopback."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from astropy.io import fits

from scripts.lib.delivery import confirmation, retries, tap
from scripts.lib.delivery.confirmation import Delivered, Instrument, judge_all, query_of
from scripts.lib.delivery.tap import Service
from scripts.lib.files.errors import TryLater
from scripts.lib.frames import names
from scripts.lib.frames.instruments import read_kinds
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.records import Frame, Product, Status
from scripts.lib.nights.times import iso
from scripts.lib.running import health
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.passwords import credentials, environment
from scripts.lib.settings.profile import read_file
from scripts.lib.settings.telescopes import telescopes
from tests.night import NIGHT, REPOSITORY, Night, read_csv
from tests.records import configuration
from tests.smtp import MailServer, free_port
from tests.tap import PASSWORD, TOKEN, USER, TapServer, bounds_of, wait_for

LOGIN = {tap.USER: USER, tap.PASSWORD: PASSWORD}
CALLISTO = telescopes()["Callisto"]
PARANAL = CALLISTO.site.longitude
INSTRUMENT = Instrument(CALLISTO, read_kinds(REPOSITORY / "config/kinds.csv"))
NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)


@pytest.fixture
def eso():
    with TapServer() as server:
        yield server


@pytest.fixture
def mails():
    with MailServer(security="none") as server:
        yield server


@pytest.fixture
def logged_in():
    with environment(LOGIN):
        yield


# Queries


def service(eso: TapServer, timeout: float = 10) -> Service:
    settings = eso.settings()
    return Service(settings["confirm_service"], settings["confirm_token_service"], timeout)


def at_eso(dp_id: str, **values) -> dict:
    """Return a row of ESO's archive."""
    return {
        "dp_id": dp_id,
        "origfile": f"{dp_id}.fits",
        "prog_id": "60.A-9009(D)",
        "dp_cat": "CALIB",
        "dp_type": "BIAS",
        "mjd_obs": 61105.1,
        "instrument": "SPECULOOS4",
    } | values


def test_a_night_is_one_query_for_one_instrument(eso):
    begin, end = bounds_of(query_of(NIGHT, CALLISTO, PARANAL))
    assert (begin, end) == (
        61104.625,
        pytest.approx(61105 + (12 + 70.390278 / 15 + 2) / 24, abs=1e-6),
    )
    eso.ingest(
        at_eso("SPECU4.first", mjd_obs=begin),
        at_eso("SPECU4.void", origfile=None),
        at_eso("SPECU4.last", mjd_obs=end - 1e-5, dp_type="OBJECT"),
        at_eso("SPECU4.before", mjd_obs=begin - 1e-5),
        at_eso("SPECU4.after", mjd_obs=end),
        at_eso("SPECU3.other", instrument="SPECULOOS3"),
    )
    found = tap.ask(service(eso), query_of(NIGHT, CALLISTO, PARANAL), (USER, PASSWORD))
    assert [one["dp_id"] for one in found] == ["SPECU4.first", "SPECU4.void", "SPECU4.last"]
    assert [one["origfile"] for one in found][:2] == ["SPECU4.first.fits", ""]
    assert len(eso.queries) == 1 and eso.logins == [USER]
    found = tap.ask(service(eso), query_of(NIGHT, CALLISTO, PARANAL), None)
    assert [one["dp_id"] for one in found] == ["SPECU4.first", "SPECU4.void"]
    assert tap.ask(service(eso), query_of("20240101", CALLISTO, PARANAL), None) == []
    assert eso.logins == [USER]


TROUBLES = {
    "slow": "no end after 0.5 s",
    "drip": "no end after 0.5 s",
    "broken": r"sorry, Bearer \*\*\*",
    "error": r"no table dbo.raw for Bearer \*\*\*",
    "cut": "truncated",
    "page": "VOTABLE",
    "mute token": "gives no token",
    "moved": r"gives no token \(HTTP 302\)",
    "echo": r"refuses SPECULOOS_ESO_USER or SPECULOOS_ESO_PASSWORD \(HTTP 401\)",
    "closed": "Connection refused",
}


@pytest.mark.parametrize("mood", TROUBLES)
def test_an_invalid_answer_is_reported_without_secrets(eso, mood):
    eso.mood = mood
    eso.ingest(at_eso("SPECU4.one"), at_eso("SPECU4.two"))
    asked = service(eso, 0.5)
    if mood == "closed":
        asked = asked._replace(token_address=f"http://127.0.0.1:{free_port()}/token")
    begin = datetime.now(UTC)
    with pytest.raises(TryLater, match=TROUBLES[mood]) as caught:
        tap.ask(asked, query_of(NIGHT, CALLISTO, PARANAL), (USER, PASSWORD))
    assert datetime.now(UTC) - begin < timedelta(minutes=1)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert_no_secret(str(caught.value))


def assert_no_secret(text: str) -> None:
    from html import escape
    from urllib.parse import quote, quote_plus

    for secret in (PASSWORD, TOKEN):
        for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
            assert form not in text and escape(form) not in text and repr(form)[1:-1] not in text
    # Not even the beginning of either.
    assert "nd <so>" not in text and "nd%20%3C" not in text and "eyJhbGciOi" not in text


def test_a_wrong_login_is_not_repeated_anonymously(eso):
    with pytest.raises(TryLater, match="HTTP 401"):
        tap.ask(service(eso), query_of(NIGHT, CALLISTO, PARANAL), (USER, "wrong"))
    assert not eso.queries
    names = tap.USER, tap.PASSWORD
    with pytest.raises(ConfigurationError, match="only one of the two"):
        credentials({tap.USER: USER}, *names)
    assert credentials({tap.USER: "", tap.PASSWORD: ""}, *names) is None


# Judgement


def product(kind="science", hours=30, **values) -> Delivered:
    start = datetime(2026, 3, 6, 0, 1, 23, 540_000, tzinfo=UTC)
    delivered = NOW - timedelta(hours=hours)
    made = Delivered("SPECU4.fits", "60.A-9009(D)", kind, start, delivered)
    return made._replace(**values)


def judged(one: Delivered, *found: dict, anonymous: bool = False) -> tuple[str, str]:
    limit = timedelta(hours=24)
    [answer] = judge_all([one], list(found), INSTRUMENT, NOW, limit, anonymous)
    return answer.status, answer.differs


def test_each_product_is_judged_by_its_own_row():
    dp_id = "SPECU4.2026-03-06T00:01:23.540"
    right = at_eso(dp_id, origfile="SPECU4.fits", dp_type="OBJECT", dp_cat="SCIENCE")
    assert judged(product(), right, at_eso("SPECU4.other")) == ("confirmed", "")
    assert judged(product(), right | {"dp_cat": "CALIB"}) == ("confirmed", "")
    for changes, difference in (
        ({"prog_id": "60.A-9009(C)"}, "prog_id is 60.A-9009(C), not 60.A-9009(D)"),
        ({"origfile": ""}, "origfile is empty, not SPECU4.fits"),
        ({"dp_type": "DARK"}, "dp_type is DARK, not OBJECT"),
    ):
        assert judged(product(), right | changes) == ("different", difference)
    bias = right | {"dp_type": "BIAS", "dp_cat": "SCIENCE"}
    assert judged(product("bias"), bias) == ("different", "dp_cat is SCIENCE, not CALIB")
    assert judged(product("bias"), bias | {"dp_cat": "CALIB"}) == ("confirmed", "")


def test_a_product_made_again_under_its_name_counts_once():
    dp_id = "SPECU4.2026-03-06T00:01:23.540"
    earlier = at_eso("SPECU4.x", origfile="SPECU4.fits", dp_type="OBJECT", dp_cat="SCIENCE")
    assert judged(product(hours=23), earlier) == ("waiting", "")
    assert judged(product(hours=24), earlier) == ("different", f"dp_id is SPECU4.x, not {dp_id}")


def test_unseen_products_wait_then_are_missing():
    assert judged(product(hours=23.9)) == ("waiting", "")
    assert judged(product(hours=24)) == ("missing", "")
    assert judged(product("dark", hours=24), anonymous=True) == ("missing", "")
    assert judged(product("dark", hours=23), anonymous=True) == ("waiting", "")
    assert judged(product("science", hours=99), anonymous=True) == ("unknown", "")


@pytest.mark.parametrize(
    ("hours", "status", "reported", "asked"),
    [
        (2, None, False, False),
        (4, None, False, True),
        (4, "waiting", False, True),
        (4, "confirmed", False, False),
        (100, "missing", True, True),
        (100, "unknown", False, True),
        (200, None, False, False),
        (200, "waiting", False, True),
        (200, "missing", False, True),
        (200, "missing", True, False),
        (200, "different", True, False),
        (200, "unknown", False, False),
        (200, "confirmed", False, False),
    ],
)
def test_a_night_is_asked_for_until_judged_and_reported(tmp_path, hours, status, reported, asked):
    one = product(hours=hours)
    folder = tmp_path / NIGHT
    folder.mkdir()
    answers = [INSTRUMENT.unasked(one)]
    if status:
        answers = [replace(answers[0], status=status)]
        confirmation.write_confirmed(folder / "confirmed.csv", answers)
    if reported:
        confirmation.write_reported(folder, confirmation.marks_of(answers))
    recipients = {"from": "a@b.example", "to": ["a@b.example"], "host": "b.example"}

    with Ledger(ledger_path(tmp_path)) as ledger:
        enter(ledger, NIGHT, one)

        def nights(named=(), mail=recipients, **settings) -> list[str]:
            own = {"confirm": True, "confirm_until": 7, "workdir": str(tmp_path), "mail": mail}
            settings = configuration("Callisto", **own | settings)
            return confirmation.nights_to_confirm(ledger, settings, list(named), NOW)

        assert nights() == ([NIGHT] if asked else [])
        assert nights(["20240101"]) == nights(confirm=False) == nights(redeliver=True) == []
        # Without mail nobody gets a report of it.
        if hours == 200 and status == "missing":
            assert nights(mail={}) == []
        # Delivered again: what was known counts no more.
        enter(ledger, NIGHT, one._replace(delivered=NOW - timedelta(hours=5)))
        assert nights() == [NIGHT]
        products = confirmation.products_of(ledger, NIGHT)
        [kept] = confirmation.unasked(products, answers, INSTRUMENT)
        assert kept.status == "waiting"


def enter(ledger: Ledger, night: str, one: Delivered) -> None:
    """Write a product of one frame as delivered."""
    known = {"product": one.name, "programme": one.programme, "kind": one.kind}
    sequence = names.sequence_of(one.name)
    frame = Frame(night, "a.fits", status=Status.DELIVERED, sequence=sequence, **known)
    made = Product(one.name, night, names.stem(one.name), one.programme, "", 0, 0, "", "passed")
    with ledger.transaction():
        ledger.record([replace(frame, date_obs=one.start)])
        ledger.enter([replace(made, delivered=one.delivered)])


def test_failures_in_a_row_are_counted_once_a_run(tmp_path):
    record = tmp_path / "record"
    for night, run, cause in (
        ("20260301", "A", "x y"),
        ("20260302", "A", ""),
        ("20260303", "B", "z"),
    ):
        (tmp_path / night).mkdir()
        confirmation.write_asked(tmp_path / night, run, cause)
    nights = ["20260301", "20260302", "20260303", "20260304"]
    assert confirmation.failed_attempts(tmp_path, nights, "A") == ["x y", ""]
    assert confirmation.failed_attempts(tmp_path, nights, "C") == []
    assert [retries.count_failure(record, cause) for cause in ("a", "b c", "", "d")] == [
        1,
        2,
        0,
        1,
    ]
    assert retries.last_failure(record) == (1, "d")
    assert retries.last_failure(tmp_path / "none") == (0, "")


# The workflow


EARLIER = "20260304"


def confirming(root: Path, eso: TapServer, mails: MailServer) -> Night:
    """Return a Callisto that confirms and mails."""
    night = Night(root, "Callisto")
    mail = {"from": "a@obs.example", "to": ["b@obs.example"], "host": "localhost"}
    mail |= {"port": mails.port, "security": "none"}
    config = yaml.safe_load(night.config.read_text()) | eso.settings()
    config |= {"confirm": True, "confirm_timeout": 60, "mail": mail}
    night.config.write_text(yaml.safe_dump(config))
    return night


def deliver_by_hand(night: Night, name: str) -> dict:
    """Record that a night with one dark was delivered, and return its row at ESO."""
    start = datetime(2026, 3, 5, 1, tzinfo=UTC)
    product = names.cube_name(CALLISTO, start, "C_dark_10s")
    delivered = datetime.now(UTC) - timedelta(hours=5)
    night.workdir.mkdir(exist_ok=True)
    with Ledger(ledger_path(night.workdir)) as ledger:
        enter(ledger, name, Delivered(product, "60.A-9009(D)", "dark", start, delivered))
    return at_eso(f"SPECU4.{iso(start)}", origfile=product, dp_type="DARK", mjd_obs=61104.041)


def ingested(path: Path) -> dict:
    """Return the row of a file in ESO's archive."""
    header = fits.getheader(path)
    return at_eso(
        f"SPECU4.{header['DATE-OBS']}",
        origfile=path.name,
        prog_id=header["HIERARCH ESO OBS PROG ID"],
        # It comes back as either.
        dp_cat="CALIB",
        dp_type=header["HIERARCH ESO DPR TYPE"],
        mjd_obs=header["MJD-OBS"],
        instrument=header["INSTRUME"],
    )


def age(night: Night, hours: float) -> None:
    """Make the night's deliveries as old as that."""
    start = datetime.now(UTC) - timedelta(hours=hours)
    with Ledger(ledger_path(night.workdir)) as ledger, ledger.transaction():
        ledger.enter([replace(one, delivered=start) for one in ledger.products(NIGHT)])


def table(night: Night, name: str = NIGHT) -> dict[str, dict]:
    return {row["product"]: row for row in read_csv(night.workdir / name / "confirmed.csv")}


def statuses(night: Night, name: str = NIGHT) -> dict[str, str]:
    return {product: row["status"] for product, row in table(night, name).items()}


def status(night: Night) -> str:
    """Return what `make status` says."""
    with Ledger(ledger_path(night.workdir)) as ledger:
        health_now = health.assess(read_file(night.config), ledger, datetime.now(UTC))
    return health.summary(health_now, datetime.now(UTC))


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def texts_of(night: Night) -> str:
    """Return the text of all files below the working directory, Snakemake's too."""
    files = filter(Path.is_file, night.workdir.rglob("*"))
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


def delivered_meanwhile(root: Path) -> Night:
    """Return a night that was delivered while ESO gave no answer for an earlier one.

    What it delivered was collected.
    """
    with TapServer() as eso, MailServer(security="none") as mails, environment(LOGIN):
        night = confirming(root, eso, mails)
        night.simulate(frames=12)
        deliver_by_hand(night, EARLIER)
        eso.mood = "slow"
        process = subprocess.Popen(
            night.command(
                f"{NIGHT}/night.html", f"{EARLIER}/confirmed.csv", nights=f"{EARLIER} {NIGHT}"
            ),
            cwd=night.repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(lambda: process.poll() is not None or (eso.logins and night.page().exists()))
        night.answered = (night.workdir / EARLIER / "confirmed.csv").exists()
        night.processes = "".join(map(command_line, Path("/proc").glob("[0-9]*")))
        eso.ended.set()
        night.output, _ = process.communicate(timeout=300)
        night.status = process.returncode
    night.at_eso = [ingested(path) for path in night.empty_archive()]
    return night


def assert_nothing_was_delayed(delivered: Night) -> None:
    """Fail unless all was delivered while the archive hung, and nobody could see a password."""
    assert delivered.status == 0, delivered.output
    assert not delivered.answered, "it did not hang"
    assert "--profile" in delivered.processes
    assert_no_secret(delivered.processes + delivered.output + texts_of(delivered))
    assert "ESO's archive could not be asked: 127.0.0.1" in delivered.output
    assert list(statuses(delivered, EARLIER).values()) == ["waiting"]
    assert len(delivered.at_eso) == len({row["product"] for row in delivered.receipts()}) > 3
    assert not (delivered.folder / "confirmed.csv").exists(), "asked as soon as it was delivered"


def test_a_night_is_delivered_while_eso_hangs_confirmed_later(tmp_path, eso, mails, logged_in):
    night = delivered_meanwhile(tmp_path / "site")
    assert_nothing_was_delayed(night)
    configured = yaml.safe_load(confirming(tmp_path / "new", eso, mails).config.read_text())
    before = yaml.safe_load(night.config.read_text())
    keys = ("mail", "confirm_service", "confirm_token_service")
    night.config.write_text(yaml.safe_dump(before | {key: configured[key] for key in keys}))
    eso.ingest(*night.at_eso)
    gone, kept, wrong, *_ = sorted(night.at_eso, key=lambda one: one["dp_type"] != "OBJECT")
    assert gone["dp_type"] == "OBJECT"
    eso.forget(gone["dp_id"])
    eso.forget(kept["dp_id"])
    shutil.copy(night.root / "collected" / kept["origfile"], night.archive)
    age(night, 20)

    # Nothing is wrong yet.
    night.run()
    rows = table(night)
    assert rows.keys() == {one["origfile"] for one in night.at_eso}
    assert rows[gone["origfile"]]["status"] == rows[kept["origfile"]]["status"] == "waiting"
    for one in night.at_eso:
        row = rows[one["origfile"]]
        assert (row["dp_id"], row["programme"]) == (one["dp_id"], one["prog_id"])
        asked = datetime.fromisoformat(row["asked"]).replace(tzinfo=UTC)
        assert timedelta() < datetime.now(UTC) - asked < timedelta(minutes=5)
        if one not in (gone, kept):
            assert row["status"] == "confirmed" and row["found_origfile"] == one["origfile"]
    assert len(eso.queries) == 1 and eso.logins == [USER]
    assert not mails.received and "not right" not in status(night)

    # A day has passed.
    eso.change(wrong["dp_id"], prog_id="60.A-9009(A)")
    age(night, 30)
    receipts = {path: path.stat().st_mtime_ns for path in night.folder.glob("archived/*.csv")}
    night.run()
    assert {product: s for product, s in statuses(night).items() if s != "confirmed"} == {
        gone["origfile"]: "missing",
        kept["origfile"]: "missing",
        wrong["origfile"]: "different",
    }
    assert table(night)[wrong["origfile"]]["found_prog_id"] == "60.A-9009(A)"
    [(_, message)] = mails.received
    assert message["Subject"].endswith("3 products NOT RIGHT AT ESO")
    text, page = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
    assert re.search(rf"1 x not collected\n    {re.escape(kept['origfile'])}: as SPECU4", text)
    assert re.search(rf"1 x missing\n    {re.escape(gone['origfile'])}: as SPECU4", text)
    assert f"{wrong['origfile']}: prog_id is 60.A-9009(A), not {wrong['prog_id']}" in text
    assert all(one["origfile"] in page for one in (gone, kept, wrong))
    assert f" ls -l {night.archive}\n" in text
    again, grep = re.findall(r"^ +(cd .+redeliver=true.*|grep .+)$", text, re.M)
    assert f"nights={NIGHT} redeliver=true" in again
    assert wrong["dp_id"] in subprocess.check_output(grep, shell=True, text=True)
    assert f"TROUBLE        {NIGHT}: 3 product(s) not right at ESO: " in status(night)
    assert f"{gone['origfile']} (missing)" in status(night)

    # Queried again, not reported again; the late product is there.
    eso.change(wrong["dp_id"], prog_id=wrong["prog_id"])
    eso.ingest(kept)
    night.run()
    assert len(mails.received) == 1 and len(eso.queries) == 3
    assert [p for p, s in statuses(night).items() if s != "confirmed"] == [gone["origfile"]]
    assert "1 product(s) not right at ESO" in status(night)
    # The night that got no answer still waits.
    assert f"{len(rows) - 1} confirmed, 1 waiting, 1 missing" in status(night)
    # Nothing was delivered meanwhile.
    assert receipts == {path: path.stat().st_mtime_ns for path in receipts}
    assert [path.name for path in night.products()] == [kept["origfile"]]
    assert_no_secret(texts_of(night) + message.as_string())


def test_an_archive_that_does_not_answer_is_mailed_after_3_runs(tmp_path, eso, mails, logged_in):
    night = confirming(tmp_path, eso, mails)
    eso.ingest(deliver_by_hand(night, EARLIER))
    asked, other, outputs = f"{EARLIER}/confirmed.csv", "Tr0ub4dor &3", []
    for mood, login in (("broken", {}), ("ok", {tap.PASSWORD: other}), ("echo", {})):
        assert not mails.received
        eso.mood = mood
        with environment(login):
            outputs.append(night.run(asked, nights=EARLIER))
        assert "ESO's archive could not be asked: 127.0.0.1" in outputs[-1]
        assert [(row["status"], row["asked"]) for row in table(night, EARLIER).values()] == [
            ("waiting", "")
        ]
    [(_, message)] = mails.received
    assert message["Subject"] == "Callisto: ESO's archive could not be asked, 3 runs in a row"
    assert "refuses SPECULOOS_ESO_USER" in message.get_content()
    assert "could not be asked, 3 runs in a row" in status(night)
    log = night.workdir / EARLIER / "logs/confirm.log"
    assert "not asked, the next run tries again: 127.0.0.1" in log.read_text()
    assert other not in texts_of(night) + "".join(outputs) + message.as_string()
    eso.mood = "ok"
    outputs.append(night.run(asked, nights=EARLIER))
    assert set(statuses(night, EARLIER).values()) == {"confirmed"}
    settings = read_file(night.config)
    with Ledger(ledger_path(night.workdir)) as ledger:
        now = datetime.now(UTC)
        assert confirmation.nights_to_confirm(ledger, settings, [EARLIER], now) == []
    assert "could not be asked" not in outputs[-1] + status(night)
    assert len(mails.received) == 1
    assert_no_secret(texts_of(night) + "".join(outputs) + message.as_string())
