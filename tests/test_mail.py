"""Mail against real SMTP servers, what it says, and how it looks in a browser."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from scripts import version
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.records import Frame, Product, Status
from scripts.lib.reporting import mail, mail_queue, report
from scripts.lib.reporting.failures import FailedJob, failures
from scripts.lib.reporting.mail import alert, mailed_since, send_queued
from scripts.lib.reporting.message import LONGEST_SUBJECT
from scripts.lib.settings.check import Layer, Unchecked, checked
from scripts.lib.settings.records import Configuration
from scripts.lib.solving.table import Solved, solved_bytes
from tests.browser import needs_browser, shown
from tests.night import NIGHT, REPOSITORY, Night
from tests.smtp import PASSWORD, USER, Authority, MailServer, Silent, free_port

TEMPLATES = REPOSITORY / "templates"
ROBOT = '"SPECULOOS Röbot, Paranal" <robot@obs.example>'


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def environ(authority):
    """What the environment of a run holds."""
    return {mail.USER: USER, mail.PASSWORD: PASSWORD, mail.CA: str(authority.path)}


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def mail_key(port: int, **settings) -> dict:
    """Return the key ``mail`` of a configuration."""
    return {
        "from": ROBOT,
        "to": ["Op One <one@obs.example>", "two@obs.example"],
        "cc": ["three@else.example"],
        "host": "localhost",
        "port": port,
        "security": "starttls",
        "timeout": 5,
    } | settings


def configuration(workdir: Path, port: int, **settings) -> Configuration:
    """Return a telescope's configuration with mail."""
    own = {
        "workdir": str(workdir),
        "archive": str(workdir.parent / "archive"),
        "corrections": "/opt/archive/config/corrections",
        "mail": mail_key(port, **settings),
    }
    written = yaml.safe_load((REPOSITORY / "config/callisto.yaml").read_text())
    return Configuration.of(checked(Layer("test", written | own)))


def to_addresses(recipients: list[str], workdir: Path, port: int) -> Configuration:
    """Return a configuration with addresses that the schema need not allow."""
    config = configuration(workdir, port)
    return replace(config, mail=replace(config.mail, to=tuple(recipients)))


def unchecked(workdir: Path, given: object) -> Unchecked:
    """Return a configuration of which little can be read."""
    return Unchecked("callisto", (Layer("test", {"workdir": str(workdir), "mail": given}),))


def program(config: Configuration, subject: str) -> str:
    """Return a program that sends an alert."""
    return (
        "from pathlib import PosixPath\n"
        "from scripts.lib.settings.records import *\n"
        "from scripts.lib.reporting.mail import alert\n"
        f"alert({config!r}, {subject!r}, 'b')"
    )


def queued(workdir: Path) -> list[Path]:
    return sorted((workdir / "mail").glob("*.message"))


def bodies(message) -> tuple[str, str]:
    """Return the text and the HTML of a message."""
    parts = {part.get_content_type(): part for part in message.iter_parts()}
    return parts["text/plain"].get_content(), parts["text/html"].get_content()


def assert_no_secret(workdir: Path, *texts: str) -> None:
    """Fail if a password is in these texts or in any file of the queue, plain or encoded."""
    import base64

    both = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    forms = [PASSWORD, " ".join(PASSWORD.split()), base64.b64encode(PASSWORD.encode()).decode()]
    for path in (workdir / "mail").glob("*"):
        texts += (path.read_text(),)
    for text in texts:
        for secret in [*forms, both, PASSWORD[:8]]:
            assert secret not in text


# Sending


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_everybody_receives_it_encrypted(workdir, authority, environ, capsys, security):
    context = authority.context("localhost")
    with MailServer(context, security) as server:
        config = configuration(workdir, server.port, security=security)
        begin = datetime.now(UTC)
        assert not mailed_since(config, begin)
        assert alert(
            config, "nächtlicher Lauf ausgefallen", "Zeile eins\n.\nFrom zwei: ü\n", environ
        )
    [(recipients, message)] = server.received
    assert recipients == ["one@obs.example", "two@obs.example", "three@else.example"]
    assert server.encrypted == [True] and server.logins == [USER]
    assert message["From"].addresses[0].display_name == "SPECULOOS Röbot, Paranal"
    assert message["From"].addresses[0].addr_spec == "robot@obs.example"
    assert [a.addr_spec for a in message["To"].addresses] == recipients[:2]
    assert [a.addr_spec for a in message["Cc"].addresses] == recipients[2:]
    assert message["Subject"] == "Callisto: nächtlicher Lauf ausgefallen"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@obs.example>")
    assert abs(message["Date"].datetime - begin) < timedelta(minutes=5)
    assert message.get_content().splitlines()[:3] == ["Zeile eins", ".", "From zwei: ü"]
    assert not queued(workdir)
    assert mailed_since(config, begin)
    assert not mailed_since(config, datetime.now(UTC) + timedelta(seconds=1))
    assert_no_secret(workdir, *capsys.readouterr())


def test_without_encryption_to_this_machine_only(workdir, capsys):
    with MailServer(security="none") as server:
        config = configuration(workdir, server.port, security="none", host="127.0.0.1")
        assert alert(config, "a", "b", {})
        assert len(server.received) == 1
        config = configuration(workdir, server.port, security="none", host="mail.example")
        assert not alert(config, "a", "b", {})
    assert "for a server on this machine only" in capsys.readouterr().err


def down(stack, authority):
    return {"port": free_port()}


def other_name(stack, authority):
    return {"port": stack(MailServer(authority.context("mail.other.example"))).port}


def unknown_authority(stack, authority):
    stranger = Authority(authority.path.parent)
    return {"port": stack(MailServer(stranger.context("localhost"))).port}


def no_encryption(stack, authority):
    return {"port": stack(MailServer()).port}


def not_even_tls(stack, authority):
    return {"port": stack(MailServer()).port, "security": "tls", "timeout": 0.5}


def silent(stack, authority):
    return {"port": stack(Silent()).port, "timeout": 0.5}


def dripping(stack, authority):
    return {"port": stack(Silent(drip=True)).port, "timeout": 0.3}


def too_big(stack, authority):
    server = MailServer(authority.context("localhost"), answer="552 too big")
    return {"port": stack(server).port}


def closing(stack, authority):
    server = MailServer(authority.context("localhost"), answer="421 going down")
    return {"port": stack(server).port}


def no_such_host(stack, authority):
    return {"port": 587, "host": "mail.invalid"}


TROUBLES = {
    down: "Connection refused",
    other_name: "certificate is not valid for 'localhost'",
    unknown_authority: "certificate verify failed",
    no_encryption: "STARTTLS extension not supported",
    not_even_tls: "mail: localhost:",
    silent: "timed out",
    dripping: "no end after",
    too_big: "552 too big",
    closing: "421 going down",
    no_such_host: "mail.invalid:587: gaierror",
}


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_what_cannot_be_sent_waits_and_is_sent_next(workdir, authority, environ, capsys, trouble):
    from contextlib import ExitStack

    begin = datetime.now(UTC)
    with ExitStack() as stack:
        settings = trouble(stack.enter_context, authority)
        config = configuration(workdir, **settings)
        started = time.monotonic()
        assert not alert(config, "first", "text", environ)
        assert time.monotonic() - started < 60
    assert mailed_since(config, begin)
    [path] = queued(workdir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    lines = capsys.readouterr().err
    assert TROUBLES[trouble] in lines and "waits in" in lines
    assert_no_secret(workdir, lines)
    with MailServer(authority.context("localhost")) as server:
        config = configuration(workdir, server.port)
        assert alert(config, "second", "text", environ)
        send_queued(config, environ)
    assert server.subjects() == ["Callisto: first", "Callisto: second"]
    assert len(server.received[0][0]) == 3
    assert not queued(workdir)


def test_a_wrong_password_is_reported_without_it(workdir, authority, environ, capsys):
    with MailServer(authority.context("localhost"), echo=True) as server:
        config = configuration(workdir, server.port)
        wrong = "Tr0ub4dor  &3"
        assert not alert(config, "a", "b", environ | {mail.PASSWORD: wrong})
        lines = capsys.readouterr().err
        assert "535" in lines and "***" in lines
        for text in (lines, queued(workdir)[0].read_text()):
            assert "Tr0ub4dor" not in text
        assert not alert(config, "a", "b", environ | {mail.PASSWORD: "pässword"})
        assert not alert(config, "a", "b", environ | {mail.PASSWORD: ""})
        lines = capsys.readouterr().err
        assert "must be ASCII" in lines and "only one of the two is set" in lines
        assert "ss" not in re.sub(r"SPECULOOS_SMTP_PASSWORD|password|process", "", lines)
        assert not server.received


def test_settings_that_cannot_work_are_reported(workdir, environ, capsys):
    config = configuration(workdir, free_port())
    missing = {mail.CA: "/nowhere/ca.pem"}
    tls = configuration(workdir, config.mail.port, security="tls")
    assert not alert(tls, "a", "b", environ | missing)
    assert "SPECULOOS_SMTP_CA: /nowhere/ca.pem" in capsys.readouterr().err
    for wrong in ({"from": None}, {"security": "ssl"}, {"when": "now"}, {"to": [5]}, {"host": ""}):
        given = mail_key(config.mail.port) | wrong
        assert not alert(unchecked(workdir, given), "a", "b", environ)
        assert capsys.readouterr().err.startswith("mail: not sent: ")
    for wrong in ({"mail": "a@b.example"}, {"mail": mail_key(config.mail.port)}):
        nowhere = Unchecked("callisto", (Layer("test", wrong),))
        assert not alert(nowhere, "a", "b", environ)
        send_queued(nowhere, environ)
    assert len(queued(workdir)) == 1


def test_a_refused_recipient_is_reported_and_gets_it_later(workdir, authority, environ, capsys):
    refused = {"two@obs.example": "450 try later", "three@else.example": "550 no such user"}
    with MailServer(authority.context("localhost"), refused=refused) as server:
        config = configuration(workdir, server.port)
        assert alert(config, "a", "b", environ)
        assert server.received[0][0] == ["one@obs.example"]
        lines = capsys.readouterr().err
        assert "two@obs.example did not get 'Callisto: a': the server says 450 try later" in lines
        assert mail_queue.refusals(workdir / "mail") == {
            "two@obs.example": ("the server says 450 try later", 1),
            "three@else.example": ("the server says 550 no such user", 1),
        }
        assert "two@obs.example" in facts_of(config, run_of(workdir)).refusals
        del refused["two@obs.example"]
        send_queued(config, environ)
        assert server.received[1][0] == ["two@obs.example"]
        assert len(server.received) == 2
        send_queued(config, environ)
        assert len(server.received) == 2
        ids = {message["Message-ID"] for _, message in server.received}
        assert len(ids) == 1
    [path] = queued(workdir)
    assert list(mail_queue.refusals(workdir / "mail")) == ["three@else.example"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_killed_process_loses_no_mail(workdir, authority, environ):
    with MailServer(authority.context("localhost"), hang=True) as server:
        config = configuration(workdir, server.port)
        process = subprocess.Popen(
            [sys.executable, "-c", program(config, "a")], cwd=REPOSITORY, env=os.environ | environ
        )
        assert server.hanging.wait(20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(queued(workdir)) == 1
        server.hang = False
        send_queued(config, environ)
        send_queued(config, environ)
        assert len(server.received) == 1


def test_two_processes_send_each_mail_once(workdir, authority, environ):
    config = configuration(workdir, free_port())
    for _ in range(5):
        alert(config, "waits", "b", environ)
    assert len(queued(workdir)) == 5
    with MailServer(authority.context("localhost")) as server:
        config = configuration(workdir, server.port)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program(config, "new")],
                cwd=REPOSITORY,
                env=os.environ | environ,
            )
            for _ in range(2)
        ]
        assert [process.wait() for process in processes] == [0, 0]
    assert sorted(server.subjects()) == ["Callisto: new"] * 2 + ["Callisto: waits"] * 5
    assert server.subjects()[:5] == ["Callisto: waits"] * 5


def test_old_and_damaged_mails(workdir, authority, environ, capsys):
    config = configuration(workdir, free_port())
    for _ in range(2):
        alert(config, "old", "b", environ)
    old, young = queued(workdir)
    past = datetime.now(UTC) - timedelta(days=31)
    old.rename(old.with_name(f"{past:%Y%m%dT%H%M%S.%f}-1.message"))
    (workdir / "mail" / "0.message").write_bytes(b"not a mail")
    (workdir / "mail" / "1.message").touch()
    with MailServer(authority.context("localhost")) as server:
        send_queued(configuration(workdir, server.port), environ)
        assert len(server.received) == 1
    lines = capsys.readouterr().err
    assert "given up after 30 days: 'Callisto: old' to one@obs.example, two@obs" in lines
    assert "0.message is not a mail" in lines and "it is 1.unreadable now" in lines
    assert not queued(workdir) and (workdir / "mail/0.unreadable").read_bytes() == b"not a mail"


def test_mails_of_earlier_versions_are_sent(workdir, authority, environ):
    alert(configuration(workdir, free_port()), "old", "b", environ)
    (path,) = queued(workdir)
    path.rename(path.with_suffix(".letter"))
    with MailServer(authority.context("localhost")) as server:
        send_queued(configuration(workdir, server.port), environ)
    assert server.subjects() == ["Callisto: old"]
    assert not list((workdir / "mail").glob("*.letter"))


def test_mails_expire_without_recipients(workdir, environ, capsys):
    config = configuration(workdir, free_port())
    alert(config, "old", "b", environ)
    (path,) = queued(workdir)
    send_queued(unchecked(workdir, {}), environ)
    assert queued(workdir) == [path]
    past = datetime.now(UTC) - timedelta(days=31)
    path.rename(path.with_name(f"{past:%Y%m%dT%H%M%S.%f}-1.message"))
    send_queued(unchecked(workdir, {}), environ)
    assert not queued(workdir) and "given up after 30 days" in capsys.readouterr().err


def test_a_queue_that_cannot_be_written_does_not_keep_the_mail(
    tmp_path, authority, environ, capsys
):
    (tmp_path / "mail").write_text("a file where the folder should be")
    with MailServer(authority.context("localhost")) as server:
        assert alert(configuration(tmp_path, server.port), "a", "b", environ)
        assert alert(configuration(tmp_path / "not mounted", server.port), "a", "b", environ)
        assert len(server.received) == 2
    assert not (tmp_path / "not mounted").exists()
    assert "cannot be kept in" in capsys.readouterr().err


def test_headers_cannot_be_injected(workdir, authority, environ, capsys):
    with MailServer(authority.context("localhost")) as server:
        config = configuration(workdir, server.port)
        encoded = "=?utf-8?q?a=0D=0ABcc:_x@y.example?="
        for words in ("a\r\nBcc: x@y.example", encoded, "\x85ö\0" * 200):
            assert alert(config, words, "b\0\x1b[31mc\x1b\udcff", environ)
        name = f'"{encoded}" <one@obs.example>'
        assert alert(to_addresses([name], workdir, server.port), "c", "d", environ)
        for wrong in ("a@b.example\nBcc: x@y.example", "ö@b.example", "nobody", "a@b c", "<>"):
            assert not alert(to_addresses([wrong], workdir, server.port), "e", "f", environ)
    assert len(server.received) == 4
    for _, message in server.received:
        assert "Bcc" not in message
        assert set(message.keys()) == {
            *("From", "To", "Cc", "Subject", "Date", "Message-ID", "Auto-Submitted"),
            *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
        }
        assert len(message["Subject"]) <= LONGEST_SUBJECT
    assert server.received[0][1].get_content().startswith("bc�\r\n\r\nWhat to do: ")
    assert capsys.readouterr().err.count("is not a mail address") == 5


@pytest.mark.parametrize("given", [None, {}, {"to": []}])
def test_without_recipients_a_line_replaces_the_mail(workdir, given, capsys):
    assert not alert(unchecked(workdir, given), "a", "b", {})
    assert capsys.readouterr().err == "mail: not sent: the configuration names nobody in mail.to\n"
    assert not (workdir / "mail").exists()


def test_many_recipients_with_names(workdir, authority, environ):
    many = [f'"Ünal, Çelik {i} von und zu Langenfeld" <u{i}@obs.example>' for i in range(30)]
    with MailServer(authority.context("localhost")) as server:
        assert alert(configuration(workdir, server.port, to=many, cc=[]), "a", "b", environ)
    [(recipients, message)] = server.received
    assert len(recipients) == 30
    assert [a.display_name for a in message["To"].addresses] == [
        f"Ünal, Çelik {i} von und zu Langenfeld" for i in range(30)
    ]


# What the mail says


HELD = [
    *(
        (Fault(Reason.TRUNCATED, "2621440 bytes missing"), f"callisto_t{i:03d}.fits")
        for i in range(24)
    ),
    (
        Fault(Reason.WRONG_DATASUM, "123 in the header, 456 <b>in</b> the pixels"),
        "callisto_<d>&.fits",
    ),
    (
        Fault(Reason.UNSOLVED, "4 stars, log10 of the false-alarm probability -1.2"),
        "callisto_u.fits",
    ),
]
LONG = "Traceback of a job whose error has a very long line without blanks: " + "x" * 300


def run_of(workdir: Path, failed=(), ended=False, nights=(NIGHT,)) -> report.Run:
    command = ["/opt/archive/.venv/bin/snakemake", "--profile", "callisto"]
    return report.Run(list(nights), failed, ended, command, "/home/obs", "/var/run.log")


def ledger_of(workdir: Path) -> Ledger:
    return Ledger(ledger_path(workdir))


def made_night(workdir: Path, night: str = NIGHT, held=HELD) -> Path:
    """Write what is known of a night: 40 frames delivered, 3 not yet, the rest held back."""
    folder = workdir / night
    (folder / "solved").mkdir(parents=True)
    begin = datetime(2026, 3, 6, tzinfo=UTC)
    kinds = [k for k, count in (("science", 30), ("flat", 8), ("bias", 5)) for _ in range(count)]
    frames = [
        Frame(
            *(night, f"{kind}{i}.fits"),
            status=Status.DELIVERED if i < 40 else Status.ASSIGNED,
            kind=kind,
            date_obs=begin + timedelta(seconds=i),
            pixel_sum=i,
            sequence=f"S_{kind}",
            product=f"{kind}.fits",
        )
        for i, kind in enumerate(kinds)
    ]
    frames += [Frame(night, file, status=Status.HELD, fault=fault) for fault, file in held]
    products = [
        Product(f"{kind}.fits", night, kind, "60.A-9009(D)", kind, 1, 1, "", "passed")
        for kind in ("science", "flat", "bias")
    ]
    with ledger_of(workdir) as ledger, ledger.transaction():
        ledger.set_night(night, snapshot="made")
        ledger.record(frames)
        ledger.enter(products)
    (folder / "night.html").write_text("page")
    rows = [Solved(f"science{i}.fits", i > 1, rms=0.1, fwhm=2, offset=3) for i in range(30)]
    (folder / "solved/S_science.fits").write_bytes(solved_bytes(rows))
    return folder


def removed(workdir: Path) -> None:
    """Remove all nights and what is known of them."""
    shutil.rmtree(workdir / NIGHT)
    ledger_path(workdir).unlink()


def facts_of(config, run: report.Run) -> report.Report:
    with ledger_of(config.workdir) as ledger:
        return report.report_of(config, ledger, run)


def rendered(config, run: report.Run) -> tuple[str, str]:
    facts = facts_of(config, run)
    return report.texts(facts, TEMPLATES)


def mailed(config, run: report.Run, templates: Path, environ: dict, workdir: Path) -> str:
    with ledger_of(workdir) as ledger:
        return report.mail_run(config, ledger, run, templates, environ)


def failed_jobs(folder: Path, count: int = 2) -> list[FailedJob]:
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    log = folder / "logs/bias.log"
    lines = [*(f"line {i}" for i in range(20)), LONG, "OSError: \x1b[31mdisk <full>"]
    log.write_text("\n".join(lines) + "\n")
    night = {"night": folder.name}
    cube = night | {"n": "4", "start": "20260306T000000"}
    return [
        FailedJob("ingest", night, str(folder / "logs/none.log")),
        *(FailedJob("cube", cube | {"sequence": f"C_bias{i}"}, str(log)) for i in range(count - 1)),
    ]


def test_report_of_failures(workdir):
    folder = made_night(workdir)
    config = configuration(workdir, 1)
    run = run_of(workdir, failed_jobs(folder))
    assert report.subject(facts_of(config, run)) == (
        f"Callisto {NIGHT}: 2 jobs FAILED, 40 of 69 frames delivered, 26 held back"
    )
    text, html = rendered(config, run)
    for words in (
        "cube 20260305 4 20260306T000000 C_bias0",
        "OSError: disk <full>",
        "    | line 19",
        f"log: {folder}/logs/bias.log",
        "killed, or failed before it could say why",
        "cd /home/obs && /opt/archive/.venv/bin/snakemake --profile callisto\n",
        f"--config nights={NIGHT} unsolved=deliver",
        f"/opt/archive/config/corrections/callisto_{NIGHT}.yaml",
        "24  truncated",
        "and 4 more: see frames.csv",
        "callisto_<d>&.fits: 123 in the header, 456 <b>in</b> the pixels",
        f"{workdir}/(night)/logs/",
        str(workdir.parent / "archive"),
        "/var/run.log",
    ):
        assert words in text
    for words in (
        "<b>cube</b> 20260305 4 20260306T000000 C_bias0",
        "OSError: disk &lt;full&gt;",
        "line 19\n",
        f"log: {folder}/logs/bias.log",
        "cd /home/obs &amp;&amp; /opt/archive/.venv/bin/snakemake --profile callisto<",
        "24 × truncated",
        "callisto_&lt;d&gt;&amp;.fits<",
        "456 &lt;b&gt;in&lt;/b&gt; the pixels",
    ):
        assert words in html
    assert re.search(r"science +30\n +flat +8\n +bias +2\n", text)
    assert re.search(r"not delivered +3  good frames", text)
    assert re.search(r"unsolved +2  of 30 science frames", text)
    assert "of 30 science frames" in html
    assert "    | line 10\n" not in text and "\x1b" not in text + html
    assert "456 <b>in</b>" not in html and "<script" not in html and "http" not in html
    assert max(map(len, text.splitlines())) < 450


def test_engineering_exposures_are_one_line_and_no_fault(workdir):
    engineering = [(Fault(Reason.ENGINEERING, "ASTRATYP is focus"), f"f{i}.fits") for i in range(9)]
    folder = made_night(workdir, held=[*engineering, HELD[0]])
    headline = "Delivered, look at one thing. 40 of 44 frames for ESO are delivered."
    (folder / "night.json").write_text(json.dumps({"headline": headline}))
    config = replace(configuration(workdir, 1), site="/data/pages")
    run = run_of(workdir, failed_jobs(folder))
    subject = f"Callisto {NIGHT}: 2 jobs FAILED, 40 of 44 frames delivered, 1 held back"
    assert report.subject(facts_of(config, run)) == subject
    text, html = rendered(config, run)
    assert re.search(r"not for ESO +9  engineering exposures", text) and "f0.fits" not in text
    assert headline in " ".join(text.split()) and headline in html
    assert f'href="file://{folder}/night.html"' in html
    assert "/data/pages/index.html\n" in text and 'href="file:///data/pages/index.html"' in html
    assert text.index("WHAT TO DO") < text.index("FAILED (2)") < text.index("NIGHTS")


def test_steps_name_sections_that_the_guide_has(workdir):
    folder = made_night(workdir)
    config, run = configuration(workdir, 1), run_of(workdir, failed_jobs(folder))
    text, html = rendered(config, run)
    guide = (REPOSITORY / "docs/operations.md").read_text()
    named = re.findall(rf'see {REPOSITORY}/docs/operations.md, section "(.+)"', text)
    assert named == ["A job failed", "Frames held back", "Frames held back"]
    assert {f"### {section}" for section in named} <= set(guide.splitlines())
    assert html.count(f'href="file://{REPOSITORY}/docs/operations.md"') == 4
    ends = (
        f'What to do: {REPOSITORY}/docs/operations.md, section "A job failed", "Frames held back"'
    )
    assert text.endswith(f"{ends}\nspeculoos-archive {version()}\n")


def test_reports_of_all_kinds_can_be_made(workdir):
    config = configuration(workdir, 1)
    run = run_of(workdir, nights=["20260301"])
    assert (
        report.subject(facts_of(config, run))
        == "Callisto 20260301: run STOPPED before its end, 1 night without table"
    )
    rendered(config, run)
    made_night(workdir, "20260302", held=[])
    with ledger_of(workdir) as ledger:
        ledger.note_night("20260303", snapshot="empty")
    facts = facts_of(config, run_of(workdir, ended=True, nights=["20260303"]))
    assert report.subject(facts) == "Callisto 20260303: no frames"
    nights = [f"2026030{i}" for i in range(1, 6)]
    jobs = failed_jobs(workdir / "20260305", count=40)
    run = run_of(workdir, jobs, nights=nights[:-1])
    assert report.subject(facts_of(config, run)) == (
        "Callisto 20260301 to 20260305 (5 nights): 40 jobs FAILED, 40 of 43 frames delivered, "
        "3 nights without table"
    )
    text, _ = rendered(config, run)
    assert "And 28 more:" in text and len(text) < 20_000


def test_rerun_command_keeps_what_was_given():
    run = run_of(Path("/w"))._replace(
        command=["snakemake", "-C", "nights=20260301", "programme=60.A-9099(A)", "-n"],
        folder="/a b",
    )
    assert report.command_line(run, nights="1 2", unsolved="deliver") == (
        "cd '/a b' && snakemake -C 'nights=1 2' unsolved=deliver 'programme=60.A-9099(A)' -n"
    )


def test_held_frames_are_mailed_once_and_failures_each_time(workdir, authority, environ):
    folder = made_night(workdir)
    good, bad = run_of(workdir, ended=True), run_of(workdir, failed_jobs(folder))
    with MailServer(authority.context("localhost")) as server:
        config = configuration(workdir, server.port)
        assert mailed(config, good, TEMPLATES, environ, workdir) == "sent"
        assert mailed(config, good, TEMPLATES, environ, workdir) == ""
        assert mailed(config, bad, TEMPLATES, environ, workdir) == "sent"
        assert mailed(config, bad, TEMPLATES, environ, workdir) == "sent"
        removed(workdir)
        made_night(workdir, held=HELD[:3])
        assert mailed(config, good, TEMPLATES, environ, workdir) == "sent"
        (folder / "solved/S_science.fits").write_bytes(b"no table at all")
        failed_jobs(folder)
        assert mailed(config, bad, TEMPLATES, environ, workdir) == "sent"
        always = configuration(workdir, server.port, when="always")
        never = configuration(workdir, server.port, when="never")
        removed(workdir)
        made_night(workdir, held=[])
        assert mailed(config, good, TEMPLATES, environ, workdir) == ""
        assert mailed(always, good, TEMPLATES, environ, workdir) == "sent"
        assert mailed(never, bad, TEMPLATES, environ, workdir) == ""
    messages = [message for _, message in server.received]
    assert len(messages) == 6
    first, second, third, fourth, broken, last = messages
    text, html = bodies(first)
    assert first.get_content_type() == "multipart/alternative"
    assert first["Subject"] == f"Callisto {NIGHT}: 40 of 69 frames delivered, 26 held back"
    assert "callisto_t001.fits" in text and "callisto_t001.fits" in html
    text, html = bodies(second)
    assert "callisto_t001.fits" not in text + html and "as an earlier mail listed" in text
    assert "2 jobs FAILED" in third["Subject"]
    assert "3 held back" in fourth["Subject"]
    assert "the run FAILED, no report" in broken["Subject"]
    assert "disk <full>" in broken.get_content() and "--profile callisto" in broken.get_content()
    assert last["Subject"] == f"Callisto {NIGHT}: 40 of 43 frames delivered"


def test_a_clean_run_sends_what_waits_and_forgets_a_lost_mail(workdir, authority, environ, capsys):
    folder = made_night(workdir)
    run = run_of(workdir, ended=True)
    config = configuration(workdir, free_port())
    (workdir / "mail").write_text("no folder")
    assert mailed(config, run, TEMPLATES, environ, workdir) == "lost"
    with ledger_of(workdir) as ledger:
        assert len(ledger.unreported(folder.name)) == len(HELD)
    (workdir / "mail").unlink()
    assert mailed(config, run, TEMPLATES, environ, workdir) == "queued"
    with MailServer(authority.context("localhost")) as server:
        config = configuration(workdir, server.port)
        assert mailed(config, run, TEMPLATES, environ, workdir) == ""
        assert len(server.received) == 1
    assert mailed(config, run, Path("/nowhere"), environ, workdir) == "queued"
    unusable = replace(config, mail=replace(config.mail, sender=""))
    assert mailed(unusable, run, TEMPLATES, environ, workdir) == ""
    nowhere = replace(config, workdir=None)
    assert mailed(nowhere, run, TEMPLATES, environ, workdir) == "lost"


# How it looks


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_html_fits_its_window(browser, workdir, tmp_path, width):
    folder = made_night(workdir / ("long" * 20))
    jobs = failed_jobs(folder)
    config = configuration(folder.parent, 1)
    _, html = rendered(config, run_of(workdir, jobs))
    assert shown(browser, html, width, tmp_path) == width


# The workflow


@pytest.fixture
def environment(environ, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def is_faulty(row: dict) -> bool:
    """Return whether a frame of ``frames.csv`` is held back for a fault."""
    return row["status"] == "held" and row["code"] != "ENGINEERING"


def mailing(root: Path, port: int) -> Night:
    """Return a Callisto with faulty frames that mails, and whose archive directory is missing."""
    night = Night(root, "Callisto")
    night.simulate(faults=True)
    night.archive.rmdir()
    with open(night.config, "a") as stream:
        stream.write(f"mail: {mail_key(port)}\n")
    return night


def test_the_workflow_mails_failures_and_held_frames_once(tmp_path, authority, environment):
    with MailServer(authority.context("localhost")) as server:
        night = mailing(tmp_path, server.port)
        output = night.run(status=1)
        [(_, failed)] = server.received
        held = sum(is_faulty(row) for row in night.frames())
        assert re.fullmatch(
            rf"Callisto {NIGHT}: \d+ jobs FAILED, 0 of \d+ frames delivered, {held} held back",
            failed["Subject"],
        )
        text, _ = bodies(failed)
        text = text.replace("\r\n", "\n")
        assert f"\n  batch {NIGHT} SPECU4." in text and f"{night.folder}/logs/batch/" in text
        assert text.count("FileNotFoundError") > 1
        assert Path(re.search(r"^  run +(/.+)$", text, re.M)[1]).exists()
        for path in [*night.workdir.rglob("*.*"), *(night.workdir / "mail").iterdir()]:
            assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()
        assert PASSWORD not in output
        night.archive.mkdir()
        command = re.search(r"^ +(cd .+ && .+)$", text, re.M)[1]
        again = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert night.products()
        assert len(server.received) == 1


def test_a_mail_that_fails_leaves_the_run_as_it_was(tmp_path, environment):
    night = mailing(tmp_path, free_port())
    assert "Connection refused" in night.run(status=1)
    with Ledger(ledger_path(night.workdir)) as ledger:
        ledger.report(replace(f, fault=None) for f in ledger.frames(NIGHT))
    night.archive.mkdir()
    assert "Connection refused" in night.run()
    first, second = map(mail_queue.read_queued, queued(night.workdir))
    assert "FAILED" in first.subject
    held = sum(is_faulty(row) for row in night.frames())
    good = sum(row["status"] == "ok" for row in night.frames())
    whole = f"{good} of {good + held} frames delivered, {held} held back"
    assert second.subject == f"Callisto {NIGHT}: {whole}"


def test_failures_name_rule_wildcards_and_log(tmp_path):
    log = tmp_path / "cube.log"
    log.write_text("first\nDamaged: a.fits ends early\n")
    job = FailedJob("cube", {"night": "20260305", "sequence": "C_bias"}, str(log))
    text = failures([job])
    assert "1 job(s) failed" in text and "cube 20260305 C_bias" in text
    assert "Damaged: a.fits ends early" in text and str(log) in text


@pytest.mark.parametrize(
    "written, port, used",
    [
        ("smtp.obs.example:587", None, ("smtp.obs.example", 587)),
        ("smtp.obs.example:587", 465, ("smtp.obs.example", 465)),
        ("smtp.obs.example", None, ("smtp.obs.example", None)),
        ("[::1]:25", None, ("::1", 25)),
        ("::1", None, ("::1", None)),
        ("smtp://obs.example", None, None),
        ("smtp.obs.example:mail", None, None),
    ],
)
def test_a_mail_server_with_its_port(written, port, used):
    settings = {"from": "a@b", "to": ["a@b"], "host": written} | ({"port": port} if port else {})
    usable = mail.usable_mail(Unchecked("callisto", (Layer("test", {"mail": settings}),)))
    assert (usable and (usable.host, usable.port)) == used
