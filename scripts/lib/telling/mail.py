"""Mail: addresses, messages, sending, and the spool of what could not be sent yet.

A letter is written to ``{workdir}/mail/`` before it is sent and removed after, so a kill loses
none; what could not be sent goes first the next time. `post`, `alert` and `send_spooled` raise
nothing: a mail must not change how a run ends. What goes wrong is a line on standard error.

User and password come from the environment (`USER`, `PASSWORD`) and are kept nowhere else.
"""

import base64
import fcntl
import ipaddress
import json
import os
import re
import smtplib
import ssl
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, formataddr, make_msgid, parseaddr
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import whole_file, write_text

USER, PASSWORD = "SPECULOOS_SMTP_USER", "SPECULOOS_SMTP_PASSWORD"
CA = "SPECULOOS_SMTP_CA"
PORTS = {"starttls": 587, "tls": 465, "none": 25}
WHEN = ("problems", "always", "never")
KEPT = timedelta(days=30)
# All letters of a run together: a server that answers drop by drop must not hold the next night up.
PATIENCE = 6
LONGEST_SUBJECT = 160
LONGEST_LINE = 300
# Colours and the like.
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What became of a mail.
SENT, SPOOLED, LOST = "sent", "spooled", "lost"


class MailError(Exception):
    """A mail cannot be sent as the settings stand; the message says why and holds no secret."""


class Settings(NamedTuple):
    """The key ``mail`` of the configuration."""

    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    host: str
    port: int
    security: str
    timeout: float
    when: str


class Letter(NamedTuple):
    """A message as it goes over the wire, and to whom."""

    name: str
    sender: str
    recipients: list[str]
    subject: str
    content: bytes
    refused: dict[str, str]
    path: Path | None


def say(line: str) -> None:
    """Tell the operator; standard error is what cron and the run's log have."""
    print(f"mail: {flat(line, LONGEST_LINE)}", file=sys.stderr, flush=True)


# Settings


def mail_settings(config: dict) -> Settings | None:
    """Return the settings for mail; None if the configuration names nobody to write to.

    Raises
    ------
    MailError
        If nothing could ever be sent with them.
    """
    given = config.get("mail") or {}
    if not given.get("to"):
        return None
    for key in ("from", "host"):
        if not given.get(key):
            raise MailError(f"mail.{key} is missing in the configuration")
    security = given.get("security", "starttls")
    if security not in PORTS:
        raise MailError(f"mail.security is {security}, not one of {', '.join(PORTS)}")
    if security == "none" and not is_loopback(given["host"]):
        raise MailError("mail.security none is for a server on this machine only")
    when = given.get("when", "problems")
    if when not in WHEN:
        raise MailError(f"mail.when is {when}, not one of {', '.join(WHEN)}")
    return Settings(
        sender=address(given["from"]),
        to=tuple(address(text) for text in given["to"]),
        cc=tuple(address(text) for text in given.get("cc") or ()),
        host=given["host"],
        port=given.get("port") or PORTS[security],
        security=security,
        timeout=given.get("timeout", 20),
        when=when,
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can be nothing but this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(text: str) -> Address:
    """Return an address, ``name@host`` or ``Some Name <name@host>``.

    Raises
    ------
    MailError
        If it is none, or not in ASCII: not every server takes others.
    """
    name, spec = parseaddr(text)
    try:
        # The library forgives what servers do not: "a@b c" is read as a@bc.
        if re.search(r"[\r\n]", text) or spec not in text:
            raise ValueError
        if not re.fullmatch(r"[!-~]+@[A-Za-z0-9.\[\]:-]+", spec):
            raise ValueError
        return Address(display_name=flat(name), addr_spec=spec)
    except (ValueError, IndexError):
        raise MailError(f"{flat(text)!r} is no mail address") from None


def credentials(environ: Mapping) -> tuple[str, str] | None:
    """Return user and password; None if the server wants none.

    Raises
    ------
    MailError
        If there is one without the other, or they cannot be sent.
    """
    user, password = environ.get(USER, ""), environ.get(PASSWORD, "")
    if bool(user) != bool(password):
        raise MailError(f"{USER} and {PASSWORD}: only one of the two is set")
    if not (user + password).isascii():
        # The library's own error would quote the letter.
        raise MailError(f"{USER} and {PASSWORD} must be ASCII")
    return (user, password) if user else None


# Text


def flat(text: str, longest: int = LONGEST_LINE) -> str:
    """Return text in one line that can neither end a header nor begin an encoded word in it."""
    line = " ".join(clean(text).split()).replace("=?", "= ?")
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clean(text: str) -> str:
    """Return text without control characters; bytes that are no text become replacement marks.

    File names and logs may hold both.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = TERMINAL.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def redacted(text: str, environ: Mapping) -> str:
    """Return text without user and password, also as they look on the wire.

    Some servers repeat what they were sent.
    """
    user, password = environ.get(USER, ""), environ.get(PASSWORD, "")
    both = f"\0{user}\0{password}"
    secrets = [password, user] + [
        base64.b64encode(secret.encode()).decode().rstrip("=") for secret in (both, password, user)
    ]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def explain(error: Exception, environ: Mapping) -> str:
    """Return what went wrong in one line without secrets."""
    if isinstance(error, smtplib.SMTPResponseException):
        return answer(error.smtp_code, error.smtp_error, environ)
    text = str(error) or "no answer"
    return flat(redacted(f"{type(error).__name__}: {text}", environ))


def answer(code: int, text: bytes | str, environ: Mapping) -> str:
    """Return a server's answer in one line without secrets."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return flat(redacted(f"the server says {code} {words}", environ))


# Messages


class Folding(EmailPolicy):
    """Folds addresses and subjects word by word.

    The standard library's folding puts blanks into long names that are not ASCII (Python 3.11).
    """

    def fold_binary(self, name, value):
        """Return a header as it goes over the wire."""
        if hasattr(value, "addresses"):
            text = ", ".join(map(encoded, value.addresses))
        elif name == "Subject":
            text = str(value)
        else:
            return super().fold_binary(name, value)
        lines = Header(text, header_name=name).encode(linesep=self.linesep)
        return f"{name}: {lines}{self.linesep}".encode("ascii")


def encoded(one: Address) -> str:
    """Return an address in ASCII."""
    if one.display_name.isascii():
        return formataddr((one.display_name, one.addr_spec))
    name = Header(one.display_name, "utf-8", maxlinelen=60).encode(linesep="")
    return f"{name} <{one.addr_spec}>"


POLICY = Folding(linesep="\r\n")


def compose(settings: Settings, subject: str, text: str, html: str | None = None) -> EmailMessage:
    """Return a message: plain text, and the same as HTML."""
    message = EmailMessage(policy=POLICY)
    message["From"] = settings.sender
    message["To"] = settings.to
    if settings.cc:
        message["Cc"] = settings.cc
    message["Subject"] = flat(subject, LONGEST_SUBJECT)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=settings.sender.domain)
    # Holiday notices must not answer.
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable passes every server, and can be read in the spool.
    message.set_content(clean(text), cte="quoted-printable")
    if html is not None:
        message.add_alternative(clean(html), subtype="html", cte="quoted-printable")
    return message


def letter_of(settings: Settings, message: EmailMessage, now: datetime) -> Letter:
    """Return a message ready to be sent; its name begins with the time, so names sort by age."""
    recipients = dict.fromkeys(one.addr_spec for one in (*settings.to, *settings.cc))
    name = f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}.letter"
    sender, subject = settings.sender.addr_spec, str(message["Subject"])
    return Letter(name, sender, list(recipients), subject, message.as_bytes(), {}, None)


# The spool


def spool_of(config: dict) -> Path:
    """Return the folder of mails that wait."""
    # That the working directory is no path is then what the mail must tell.
    return Path(str(config["workdir"])) / "mail"


def store(folder: Path, letter: Letter) -> Letter:
    """Write a letter to the spool, whole or not at all, for the owner's eyes only."""
    # Its parent is not made: it may be a share that is not mounted.
    folder.mkdir(mode=0o700, exist_ok=True)
    envelope = {key: getattr(letter, key) for key in ("sender", "recipients", "subject", "refused")}
    path = folder / letter.name
    with whole_file(path) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(json.dumps(envelope).encode() + b"\n" + letter.content)
    return letter._replace(path=path)


def read_letter(path: Path) -> Letter:
    """Return a letter of the spool.

    Raises
    ------
    MailError
        If the file is none.
    """
    envelope, _, content = path.read_bytes().partition(b"\n")
    try:
        return Letter(name=path.name, content=content, path=path, **json.loads(envelope))
    except (ValueError, TypeError):
        raise MailError(f"{path} is no mail that waits to be sent") from None


def waiting(folder: Path, now: datetime) -> list[Letter]:
    """Return the letters that wait, oldest first; those that waited too long are dropped."""
    letters = []
    for path in sorted(folder.glob("[!.]*.letter")):
        letter, what = None, path.name
        try:
            letter = read_letter(path)
            what = f"{letter.subject!r} to {listed(letter)}"
        except MailError as error:
            say(f"{error}: {put_aside(path)}")
            continue
        except OSError as error:
            say(str(error))
        if is_stale(path.name, now):
            say(f"given up after {KEPT.days} days: {what}")
            path.unlink(missing_ok=True)
        elif letter:
            letters.append(letter)
    return letters


def put_aside(path: Path) -> str:
    """Give what is no letter another name, so that it is told of once; return what to do."""
    aside = path.with_suffix(".unreadable")
    try:
        path.rename(aside)
    except OSError as error:
        return f"remove it ({error.strerror})"
    return f"it is {aside.name} now, look at it"


def listed(letter: Letter) -> str:
    """Return a letter's recipients as text."""
    return ", ".join(letter.recipients)


def is_stale(name: str, now: datetime) -> bool:
    """Tell whether a letter has waited too long, from its name; one without a time has not."""
    try:
        written = datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S.%f")
    except ValueError:
        return False
    return now - written.replace(tzinfo=UTC) > KEPT


def refusals(folder: Path) -> dict[str, tuple[str, int]]:
    """Return for each recipient whom the server refused its answer, and how many mails wait."""
    found: dict[str, tuple[str, int]] = {}
    for path in sorted(folder.glob("[!.]*.letter")):
        with suppress(MailError, OSError):
            for recipient, reason in read_letter(path).refused.items():
                found[recipient] = reason, found.get(recipient, ("", 0))[1] + 1
    return found


@contextmanager
def alone(folder: Path, patience: float) -> Iterator[bool]:
    """Keep two processes from sending the same letters; False if another would not end."""
    if not folder.is_dir():
        yield True
        return
    with open(folder / ".lock", "w") as stream:
        until = time.monotonic() + patience
        while not (mine := has_lock(stream)) and time.monotonic() < until:
            time.sleep(0.1)
        yield mine


def has_lock(stream) -> bool:
    """Take a lock if it is free, and tell."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Sending


def tls_context(environ: Mapping) -> ssl.SSLContext:
    """Return what checks the server's certificate and name, with the site's own CA if any.

    Raises
    ------
    MailError
        If the site's CA cannot be read.
    """
    context = ssl.create_default_context()
    if path := environ.get(CA):
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:
            raise MailError(f"{CA}: {path}: {error}") from None
    return context


@contextmanager
def connected(settings: Settings, environ: Mapping) -> Iterator[smtplib.SMTP]:
    """Open a connection that may be sent through: encrypted, checked, logged in."""
    login = credentials(environ)
    where = {"host": settings.host, "port": settings.port, "timeout": settings.timeout}
    if settings.security == "tls":
        smtp = smtplib.SMTP_SSL(**where, context=tls_context(environ))
    else:
        smtp = smtplib.SMTP(**where)
    try:
        if settings.security == "starttls":
            smtp.starttls(context=tls_context(environ))
        if login:
            smtp.login(*login)
        yield smtp
        # What was sent is sent, however the server says good-bye.
        with suppress(OSError):
            smtp.quit()
    finally:
        smtp.close()


def hand_over(smtp: smtplib.SMTP, letter: Letter, environ: Mapping) -> dict[str, str]:
    """Send a letter and return the recipients whom the server refused, with its answer."""
    try:
        refused = smtp.sendmail(letter.sender, letter.recipients, letter.content)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    return {recipient: answer(*reply, environ) for recipient, reply in refused.items()}


def settle(letter: Letter, refused: dict[str, str]) -> None:
    """Keep a letter for those who were refused, or remove it."""
    for recipient, reason in refused.items():
        say(f"{recipient} did not get {letter.subject!r}: {reason}")
    if letter.path is None:
        return
    if refused:
        store(letter.path.parent, letter._replace(recipients=list(refused), refused=refused))
    else:
        letter.path.unlink(missing_ok=True)


def send_letters(settings: Settings, letters: list[Letter], environ: Mapping) -> set[str]:
    """Send letters in their order; return the names of those that somebody received."""
    received = set()
    try:
        with connected(settings, environ) as smtp:
            for letter in letters:
                try:
                    refused = hand_over(smtp, letter, environ)
                except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
                    # This letter's own trouble, such as its size: the others may pass.
                    say(f"not sent: {letter.subject!r}: {explain(error, environ)}")
                    continue
                if len(refused) < len(letter.recipients):
                    received.add(letter.name)
                    others = [one for one in letter.recipients if one not in refused]
                    say(f"sent to {', '.join(others)}: {letter.subject!r}")
                settle(letter, refused)
    except Exception as error:  # Whatever it was: the run's outcome is not the mail's to change.
        left = len(letters) - len(received)
        where = f"{settings.host}:{settings.port}"
        say(f"{where}: {explain(error, environ)}; {left} mail(s) not sent to all")
    return received


def send_waiting(settings: Settings, folder: Path, extra: list[Letter], environ: Mapping) -> set:
    """Send what waits in the spool, then letters that the disk would not take."""
    try:
        with alone(folder, settings.timeout) as mine:
            if not mine:
                say(f"another process is sending the mails in {folder}; they wait")
            letters = (waiting(folder, datetime.now(UTC)) if mine else []) + extra
            return send_letters(settings, letters, environ) if letters else set()
    except OSError as error:
        say(f"{folder}: {explain(error, environ)}")
        return send_letters(settings, extra, environ) if extra else set()


def within(seconds: float, work: Callable[[], set]) -> set:
    """Return what ``work`` returns; nothing if it takes too long, and then it is left behind.

    Time-outs of sockets count from each byte, and name servers know none.
    """
    results: list[set] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        say(f"no end after {seconds:g} s: what is not sent waits for the next run")
    return results[0] if results else set()


def post(settings: Settings, folder: Path, message: EmailMessage, environ: Mapping) -> str:
    """Send a message after those that wait, and return what became of it."""
    letter = letter_of(settings, message, datetime.now(UTC))
    try:
        letter = store(folder, letter)
    except OSError as error:
        # A full disk is a reason to write, not to be silent.
        say(f"cannot be kept in {folder}: {explain(error, environ)}")
    extra = [] if letter.path else [letter]
    limit = PATIENCE * settings.timeout
    received = within(limit, lambda: send_waiting(settings, folder, extra, environ))
    if letter.name in received:
        outcome = SENT
    elif letter.path:
        say(f"waits in {folder} for the next run: {letter.subject!r}")
        outcome = SPOOLED
    else:
        outcome = LOST
    record(folder, outcome, letter.subject)
    return outcome


# What others call


def usable_settings(config: dict) -> Settings | None:
    """Return the settings for mail, or None and a line that says why there is none."""
    try:
        settings = mail_settings(config)
    except MailError as error:
        say(f"not sent: {error}")
        return None
    if settings is None:
        say("not sent: the configuration names nobody in mail.to")
    return settings


def send_spooled(config: dict, environ: Mapping = os.environ) -> None:
    """Send what waits from earlier runs; never raise."""
    with told():
        settings = usable_settings(config)
        folder = spool_of(config)
        if not settings:
            # Letters grow old whether they can be sent or not.
            waiting(folder, datetime.now(UTC))
        elif any(folder.glob("[!.]*.letter")):
            limit = PATIENCE * settings.timeout
            within(limit, lambda: send_waiting(settings, folder, [], environ))


def alert(config: dict, subject: str, text: str, environ: Mapping = os.environ) -> bool:
    """Send an alert that no run could send itself; never raise.

    Parameters
    ----------
    config : dict
        A telescope's configuration.
    subject : str
        Words that follow the telescope's name.

    Returns
    -------
    bool
        Whether somebody received it; if not it waits in the spool, if mail is wanted at all.
    """
    outcome = LOST
    with told():
        settings = usable_settings(config)
        if settings and settings.when != "never":
            message = compose(settings, f"{config['telescope']}: {subject}", text)
            outcome = post(settings, spool_of(config), message, environ)
    return outcome == SENT


@contextmanager
def told() -> Iterator[None]:
    """Turn any error into a line: who mails has something more important to do."""
    try:
        yield
    except Exception as error:
        say(f"not sent: {type(error).__name__}: {error}")


def record(folder: Path, outcome: str, subject: str) -> None:
    """Write down that a mail was written, for `mailed_since`."""
    last = {"time": datetime.now(UTC).isoformat(), "outcome": outcome, "subject": subject}
    try:
        write_text(folder / "last", json.dumps(last) + "\n")
    except OSError as error:
        say(f"{folder}: {error}")


def mailed_since(config: dict, begin: datetime) -> bool:
    """Tell whether a mail was sent, or is kept for the next run, since a moment.

    Parameters
    ----------
    begin : datetime
        With its time zone.
    """
    try:
        last = json.loads((spool_of(config) / "last").read_text())
        return datetime.fromisoformat(last["time"]) >= begin and last["outcome"] != LOST
    except (OSError, ValueError, KeyError, TypeError):
        return False
