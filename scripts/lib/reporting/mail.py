"""Mail: addresses, messages, sending, and the queue of what could not be sent yet.

A mail is written to ``{workdir}/mail/`` before it is sent and removed after, so a kill loses
none; what could not be sent goes first the next time. `post`, `alert` and `send_queued` raise
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
from typing import IO, Any, NamedTuple

from scripts.lib.files.durable import whole_file, write_text
from scripts.lib.settings.check import ConfigurationError, Unchecked
from scripts.lib.settings.records import Configuration, Mail

USER, PASSWORD = "SPECULOOS_SMTP_USER", "SPECULOOS_SMTP_PASSWORD"
CA = "SPECULOOS_SMTP_CA"
PORTS = {"starttls": 587, "tls": 465, "none": 25}
KEPT = timedelta(days=30)
# Timeouts that all mails of a run together may take: a server that answers byte by byte must not
# delay the next night.
TIMEOUTS = 6
LONGEST_SUBJECT = 160
LONGEST_LINE = 300
# Colours and the like.
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What became of a mail.
SENT, QUEUED, LOST = "sent", "queued", "lost"


class MailError(Exception):
    """A mail cannot be sent as the settings stand; the message says why and holds no secret."""


class QueuedMail(NamedTuple):
    """A message as it goes over the wire, and to whom.

    Attributes
    ----------
    name : str
        Of its file in the queue.
    refused : dict of str
        The server's answer for each recipient that it refused before.
    path : Path or None
        None if it could not be kept.
    """

    name: str
    sender: str
    recipients: list[str]
    subject: str
    content: bytes
    refused: dict[str, str]
    path: Path | None


def say(line: str) -> None:
    """Write a line for the operator to standard error, which cron and the run's log have."""
    print(f"mail: {flat(line, LONGEST_LINE)}", file=sys.stderr, flush=True)


# Settings


def check_mail(mail: Mail) -> None:
    """Raise `MailError` if nothing could ever be sent with these settings."""
    if mail.security == "none" and not is_loopback(mail.host):
        raise MailError("mail.security none is for a server on this machine only")
    for text in (mail.sender, *mail.to, *mail.cc):
        parse_address(text)


def port_of(mail: Mail) -> int:
    """Return the port of the mail server."""
    return mail.port or PORTS[mail.security]


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can be nothing but this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Return an address, ``name@host`` or ``Some Name <name@host>``.

    Raises
    ------
    MailError
        If it is not one, or not in ASCII: not every server takes others.
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
        raise MailError(f"{flat(text)!r} is not a mail address") from None


def credentials(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return user and password; None if there are none.

    Raises
    ------
    MailError
        If there is one without the other, or they cannot be sent.
    """
    user, password = environ.get(USER, ""), environ.get(PASSWORD, "")
    if bool(user) != bool(password):
        raise MailError(f"{USER} and {PASSWORD}: only one of the two is set")
    if not (user + password).isascii():
        # The library's own error would quote the character that is not.
        raise MailError(f"{USER} and {PASSWORD} must be ASCII")
    return (user, password) if user else None


# Text


def flat(text: str, longest: int = LONGEST_LINE) -> str:
    """Return text in one line that can neither end a header nor begin an encoded word in it."""
    line = " ".join(clean(text).split()).replace("=?", "= ?")
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clean(text: str) -> str:
    """Return text without control characters; bytes that are not text become replacement marks.

    File names and logs may hold both.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = TERMINAL.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def redacted(text: str, environ: Mapping[str, str]) -> str:
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


def explain(error: Exception, environ: Mapping[str, str]) -> str:
    """Return what went wrong in one line without secrets."""
    if isinstance(error, smtplib.SMTPResponseException):
        return server_answer(error.smtp_code, error.smtp_error, environ)
    text = str(error) or "no answer"
    return flat(redacted(f"{type(error).__name__}: {text}", environ))


def server_answer(code: int, text: bytes | str, environ: Mapping[str, str]) -> str:
    """Return a server's answer in one line without secrets."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return flat(redacted(f"the server says {code} {words}", environ))


# Messages


class Folding(EmailPolicy):
    """Folds addresses and subjects word by word.

    The standard library's folding puts blanks into long names that are not ASCII (Python 3.11).
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
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


def compose(mail: Mail, subject: str, text: str, html: str | None = None) -> EmailMessage:
    """Return a message: plain text, and the same as HTML."""
    sender = parse_address(mail.sender)
    message = EmailMessage(policy=POLICY)
    message["From"] = sender
    message["To"] = tuple(map(parse_address, mail.to))
    if mail.cc:
        message["Cc"] = tuple(map(parse_address, mail.cc))
    message["Subject"] = flat(subject, LONGEST_SUBJECT)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=sender.domain)
    # Holiday notices must not answer.
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable passes every server, and can be read in the queue.
    message.set_content(clean(text), cte="quoted-printable")
    if html is not None:
        message.add_alternative(clean(html), subtype="html", cte="quoted-printable")
    return message


def ready_to_send(mail: Mail, message: EmailMessage, now: datetime) -> QueuedMail:
    """Return a message with its recipients; its name begins with the time: names sort by age."""
    recipients = [parse_address(text).addr_spec for text in (*mail.to, *mail.cc)]
    return QueuedMail(
        name=f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}.letter",
        sender=parse_address(mail.sender).addr_spec,
        recipients=list(dict.fromkeys(recipients)),
        subject=str(message["Subject"]),
        content=message.as_bytes(),
        refused={},
        path=None,
    )


# The queue


def queue_of(config: Configuration | Unchecked) -> Path:
    """Return the folder of mails that wait."""
    return config.workdir / "mail"


def queued_messages(config: Configuration | Unchecked) -> list[Path]:
    """Return the files of the mails that wait, oldest first."""
    return queued_files(queue_of(config))


def queued_files(folder: Path) -> list[Path]:
    """Return the files of the mails in a queue, oldest first."""
    return sorted(folder.glob("[!.]*.letter"))


def store(folder: Path, queued: QueuedMail) -> QueuedMail:
    """Write a mail to the queue, whole or not at all, readable by its owner only."""
    # Its parent is not made: it may be a share that is not mounted.
    folder.mkdir(mode=0o700, exist_ok=True)
    envelope = {key: getattr(queued, key) for key in ("sender", "recipients", "subject", "refused")}
    path = folder / queued.name
    with whole_file(path) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(json.dumps(envelope).encode() + b"\n" + queued.content)
    return queued._replace(path=path)


def read_queued(path: Path) -> QueuedMail:
    """Return a mail of the queue.

    Raises
    ------
    MailError
        If the file is not one.
    """
    envelope, _, content = path.read_bytes().partition(b"\n")
    try:
        return QueuedMail(name=path.name, content=content, path=path, **json.loads(envelope))
    except (ValueError, TypeError):
        raise MailError(f"{path} is not a mail that waits to be sent") from None


def waiting(folder: Path, now: datetime) -> list[QueuedMail]:
    """Return the mails that wait, oldest first; those that waited too long are dropped."""
    mails = []
    for path in queued_files(folder):
        queued, what = None, path.name
        try:
            queued = read_queued(path)
            what = f"{queued.subject!r} to {', '.join(queued.recipients)}"
        except MailError as error:
            say(f"{error}: {put_aside(path)}")
            continue
        except OSError as error:
            say(str(error))
        if is_stale(path.name, now):
            say(f"given up after {KEPT.days} days: {what}")
            path.unlink(missing_ok=True)
        elif queued:
            mails.append(queued)
    return mails


def put_aside(path: Path) -> str:
    """Rename a file that is not a mail, so that it is reported once; return what to do."""
    aside = path.with_suffix(".unreadable")
    try:
        path.rename(aside)
    except OSError as error:
        return f"remove it ({error.strerror})"
    return f"it is {aside.name} now, look at it"


def is_stale(name: str, now: datetime) -> bool:
    """Tell whether a mail has waited too long, from its name; one without a time has not."""
    try:
        written = datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S.%f")
    except ValueError:
        return False
    return now - written.replace(tzinfo=UTC) > KEPT


def refusals(folder: Path) -> dict[str, tuple[str, int]]:
    """Return for each recipient whom the server refused its answer, and how many mails wait."""
    found: dict[str, tuple[str, int]] = {}
    for path in queued_files(folder):
        with suppress(MailError, OSError):
            for recipient, reason in read_queued(path).refused.items():
                found[recipient] = reason, found.get(recipient, ("", 0))[1] + 1
    return found


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[bool]:
    """Keep two processes from sending the same mails; False if another takes longer than that."""
    if not folder.is_dir():
        yield True
        return
    with open(folder / ".lock", "w") as stream:
        until = time.monotonic() + seconds
        while not (mine := take_lock(stream)) and time.monotonic() < until:
            time.sleep(0.1)
        yield mine


def take_lock(stream: IO[str]) -> bool:
    """Take a lock if it is free, and tell whether it was."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Sending


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
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
def connected(mail: Mail, environ: Mapping[str, str]) -> Iterator[smtplib.SMTP]:
    """Open a connection that may be sent through: encrypted, checked, logged in."""
    login = credentials(environ)
    host, port, timeout = mail.host, port_of(mail), mail.timeout
    smtp = (
        smtplib.SMTP_SSL(host, port, timeout=timeout, context=tls_context(environ))
        if mail.security == "tls"
        else smtplib.SMTP(host, port, timeout=timeout)
    )
    try:
        if mail.security == "starttls":
            smtp.starttls(context=tls_context(environ))
        if login:
            smtp.login(*login)
        yield smtp
        # What was sent is sent, however the server ends the connection.
        with suppress(OSError):
            smtp.quit()
    finally:
        smtp.close()


def hand_over(smtp: smtplib.SMTP, queued: QueuedMail, environ: Mapping[str, str]) -> dict[str, str]:
    """Send a mail and return the recipients whom the server refused, with its answer."""
    try:
        refused = smtp.sendmail(queued.sender, queued.recipients, queued.content)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    return {recipient: server_answer(*reply, environ) for recipient, reply in refused.items()}


def keep_or_remove(queued: QueuedMail, refused: dict[str, str]) -> None:
    """Keep a mail for those who were refused, or remove it."""
    for recipient, reason in refused.items():
        say(f"{recipient} did not get {queued.subject!r}: {reason}")
    if queued.path is None:
        return
    if refused:
        store(queued.path.parent, queued._replace(recipients=list(refused), refused=refused))
    else:
        queued.path.unlink(missing_ok=True)


def send_all(mail: Mail, mails: list[QueuedMail], environ: Mapping[str, str]) -> set[str]:
    """Send mails in their order; return the names of those that somebody received."""
    received = set()
    try:
        with connected(mail, environ) as smtp:
            for queued in mails:
                try:
                    refused = hand_over(smtp, queued, environ)
                except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
                    # A matter of this mail, such as its size: the others may pass.
                    say(f"not sent: {queued.subject!r}: {explain(error, environ)}")
                    continue
                if len(refused) < len(queued.recipients):
                    received.add(queued.name)
                    others = [one for one in queued.recipients if one not in refused]
                    say(f"sent to {', '.join(others)}: {queued.subject!r}")
                keep_or_remove(queued, refused)
    except Exception as error:  # Whatever it was: a mail must not change the run's outcome.
        left = len(mails) - len(received)
        where = f"{mail.host}:{port_of(mail)}"
        say(f"{where}: {explain(error, environ)}; {left} mail(s) not sent to all")
    return received


def send_waiting(
    mail: Mail, folder: Path, extra: list[QueuedMail], environ: Mapping[str, str]
) -> set[str]:
    """Send what waits in the queue, then mails that the disk would not take."""
    try:
        with locked(folder, mail.timeout) as mine:
            if not mine:
                say(f"another process is sending the mails in {folder}; they wait")
            mails = (waiting(folder, datetime.now(UTC)) if mine else []) + extra
            return send_all(mail, mails, environ) if mails else set()
    except OSError as error:
        say(f"{folder}: {explain(error, environ)}")
        return send_all(mail, extra, environ) if extra else set()


def within(seconds: float, work: Callable[[], set[str]]) -> set[str]:
    """Return what ``work`` returns; nothing if it takes too long, and then it is left behind.

    Timeouts of sockets count from each byte, and name servers have none.
    """
    results: list[set[str]] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        say(f"no end after {seconds:g} s: what is not sent waits for the next run")
    return results[0] if results else set()


def post(mail: Mail, folder: Path, message: EmailMessage, environ: Mapping[str, str]) -> str:
    """Send a message after those that wait, and return what became of it.

    Parameters
    ----------
    mail : Mail
        As `usable_mail` returns it.
    folder : Path
        Of the queue, see `queue_of`.
    """
    queued = ready_to_send(mail, message, datetime.now(UTC))
    try:
        queued = store(folder, queued)
    except OSError as error:
        # A full disk is a reason to write, not to be silent.
        say(f"cannot be kept in {folder}: {explain(error, environ)}")
    extra = [] if queued.path else [queued]
    limit = TIMEOUTS * mail.timeout
    received = within(limit, lambda: send_waiting(mail, folder, extra, environ))
    if queued.name in received:
        outcome = SENT
    elif queued.path:
        say(f"waits in {folder} for the next run: {queued.subject!r}")
        outcome = QUEUED
    else:
        outcome = LOST
    record_outcome(folder, outcome, queued.subject)
    return outcome


# What others call


def usable_mail(config: Configuration | Unchecked) -> Mail | None:
    """Return the settings for mail, or None and a line that says why nothing can be sent."""
    try:
        mail = config.mail
        if not mail.to:
            raise MailError("the configuration names nobody in mail.to")
        check_mail(mail)
    except (ConfigurationError, MailError) as error:
        say(f"not sent: {error}")
        return None
    return mail


def send_queued(config: Configuration | Unchecked, environ: Mapping[str, str] = os.environ) -> None:
    """Send what waits from earlier runs; never raise."""
    with errors_reported():
        mail = usable_mail(config)
        folder = queue_of(config)
        if mail is None:
            # Mails grow old whether they can be sent or not.
            waiting(folder, datetime.now(UTC))
        elif queued_files(folder):
            within(TIMEOUTS * mail.timeout, lambda: send_waiting(mail, folder, [], environ))


def alert(
    config: Configuration | Unchecked,
    subject: str,
    text: str,
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Send an alert that no run could send itself; never raise.

    Parameters
    ----------
    config : Configuration or Unchecked
        The telescope's; the mail may be about what is wrong with it.
    subject : str
        Words that follow the telescope's name.

    Returns
    -------
    bool
        Whether somebody received it; if not it waits in the queue, if mail is wanted at all.
    """
    outcome = LOST
    with errors_reported():
        mail = usable_mail(config)
        if mail and mail.when != "never":
            message = compose(mail, f"{config.telescope}: {subject}", text)
            outcome = post(mail, queue_of(config), message, environ)
    return outcome == SENT


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn any error into a line: the run is more important than its mail."""
    try:
        yield
    except Exception as error:
        say(f"not sent: {type(error).__name__}: {error}")


def record_outcome(folder: Path, outcome: str, subject: str) -> None:
    """Write down that a mail was written, for `mailed_since`."""
    last = {"time": datetime.now(UTC).isoformat(), "outcome": outcome, "subject": subject}
    try:
        write_text(folder / "last", json.dumps(last) + "\n")
    except OSError as error:
        say(f"{folder}: {error}")


def mailed_since(config: Configuration | Unchecked, begin: datetime) -> bool:
    """Tell whether a mail was sent, or is kept for the next run, since a time.

    Parameters
    ----------
    begin : datetime
        With its time zone.
    """
    try:
        last = json.loads((queue_of(config) / "last").read_text())
        return datetime.fromisoformat(last["time"]) >= begin and last["outcome"] != LOST
    except (OSError, ValueError, KeyError, TypeError):
        return False
