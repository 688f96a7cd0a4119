"""Mail: sending over SMTP, and what others call.

`alert`, `post` and `send_queued` raise nothing: a mail must not change how a run ends. What goes
wrong is a line on standard error. User and password come from the environment and are kept
nowhere else.
"""

import ipaddress
import json
import os
import re
import smtplib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from scripts.lib.files.deadline import within
from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import TryLater
from scripts.lib.reporting import mail_queue
from scripts.lib.reporting.guide import with_guide
from scripts.lib.reporting.mail_queue import QueuedMail, queue_of, say
from scripts.lib.reporting.message import compose, flat, parse_address
from scripts.lib.settings.check import ConfigurationError, Unchecked
from scripts.lib.settings.passwords import credentials, redacted
from scripts.lib.settings.records import Configuration, Mail

USER, PASSWORD = "SPECULOOS_SMTP_USER", "SPECULOOS_SMTP_PASSWORD"
CA = "SPECULOOS_SMTP_CA"
# host, host:port, [address] or [address]:port; an address of IPv6 without brackets has no port.
HOST = re.compile(r"\[?(?P<host>(?<=\[)[^\]]+(?=\])|[^:\[]+)\]?(:(?P<port>\d+))?")
PORTS = {"starttls": 587, "tls": 465, "none": 25}
# Timeouts that all mails of a run together may take: a server that answers byte by byte must not
# delay the next night.
TIMEOUTS = 6
# What became of a mail.
SENT, QUEUED, LOST = "sent", "queued", "lost"


def port_of(mail: Mail) -> int:
    """Return the port of the mail server."""
    return mail.port or PORTS[mail.security]


def with_port(mail: Mail) -> Mail:
    """Return settings whose host has no port: that of host:port counts if there is no other."""
    match = HOST.fullmatch(mail.host)
    if not match:
        return mail
    port = int(match["port"]) if match["port"] else None
    return replace(mail, host=match["host"], port=mail.port or port)


def usable_mail(config: Configuration | Unchecked) -> Mail | None:
    """Return the settings for mail, or None and a line that says why nothing can be sent."""
    try:
        mail = config.mail
        if not mail.to:
            raise ConfigurationError("the configuration names nobody in mail.to")
        mail = with_port(mail)
        if mail.security == "none" and not is_loopback(mail.host):
            raise ConfigurationError("mail.security none is for a server on this machine only")
        for text in (mail.sender, *mail.to, *mail.cc):
            parse_address(text)
    except ConfigurationError as error:
        say(f"not sent: {error}")
        return None
    return mail


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can be nothing but this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Sending


def explain(error: Exception, environ: Mapping[str, str]) -> str:
    """Return what went wrong in one line, without user and password as both look on the wire."""
    if isinstance(error, smtplib.SMTPResponseException):
        words: bytes | str = error.smtp_error
        words = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
        text = f"the server says {error.smtp_code} {words}"
    elif isinstance(error, ConfigurationError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {str(error) or 'no answer'}"
    user, password = environ.get(USER, ""), environ.get(PASSWORD, "")
    secrets = (user, password, f"\0{user}\0{password}") if user or password else ()
    return flat(redacted(text, secrets))


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return what checks the server's certificate and name, with the site's own CA if any."""
    context = ssl.create_default_context()
    if path := environ.get(CA):
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:
            raise ConfigurationError(f"{CA}: {path}: {error}") from None
    return context


@contextmanager
def connected(mail: Mail, environ: Mapping[str, str]) -> Iterator[smtplib.SMTP]:
    """Open a connection that may be sent through: encrypted, checked, logged in."""
    login = credentials(environ, USER, PASSWORD)
    if login and not "".join(login).isascii():
        # The library's own error would quote the character that is not.
        raise ConfigurationError(f"{USER} and {PASSWORD} must be ASCII")
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


def send_one(
    smtp: smtplib.SMTP, queued: QueuedMail, received: set[Path], environ: Mapping[str, str]
) -> None:
    """Send a mail, note whether somebody received it, keep it for those whom the server refuses."""
    try:
        replies = smtp.sendmail(queued.sender, queued.recipients, queued.content)
    except smtplib.SMTPRecipientsRefused as error:
        replies = error.recipients
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        # A matter of this mail, such as its size: the others may pass.
        say(f"not sent: {queued.subject!r}: {explain(error, environ)}")
        return
    refused = {
        recipient: explain(smtplib.SMTPResponseException(*reply), environ)
        for recipient, reply in replies.items()
    }
    if others := [one for one in queued.recipients if one not in refused]:
        received.add(queued.path)
        say(f"sent to {', '.join(others)}: {queued.subject!r}")
    for recipient, reason in refused.items():
        say(f"{recipient} did not get {queued.subject!r}: {reason}")
    if queued.path.exists():
        if refused:
            mail_queue.store(replace(queued, recipients=list(refused), refused=refused))
        else:
            queued.path.unlink(missing_ok=True)


def send_all(mail: Mail, mails: list[QueuedMail], environ: Mapping[str, str]) -> set[Path]:
    """Send mails in order; return the paths of those that reached a recipient."""
    received: set[Path] = set()
    try:
        if mails:
            with connected(mail, environ) as smtp:
                for one in mails:
                    send_one(smtp, one, received, environ)
    except Exception as error:  # Whatever it was: a mail must not change the run's outcome.
        left = len(mails) - len(received)
        where = f"{mail.host}:{port_of(mail)}"
        say(f"{where}: {explain(error, environ)}; {left} mail(s) not sent to all")
    return received


def send_waiting(
    mail: Mail, folder: Path, extra: list[QueuedMail], environ: Mapping[str, str]
) -> set[Path]:
    """Send what waits in the queue, then mails that the disk would not take."""

    def send() -> set[Path]:
        try:
            with mail_queue.locked(folder, mail.timeout) as mine:
                if not mine:
                    say(f"another process is sending the mails in {folder}; they wait")
                return send_all(mail, (mail_queue.waiting(folder) if mine else []) + extra, environ)
        except OSError as error:
            say(f"{folder}: {explain(error, environ)}")
            return send_all(mail, extra, environ)

    try:
        return within(TIMEOUTS * mail.timeout, f"{mail.host}:{port_of(mail)}", send)
    except TryLater as error:
        say(f"{error}: what is not sent waits for the next run")
        return set()


def post(mail: Mail, folder: Path, message: EmailMessage, environ: Mapping[str, str]) -> str:
    """Send a message after those that wait in the queue, and return what became of it."""
    specs = [parse_address(text).addr_spec for text in (mail.sender, *mail.to, *mail.cc)]
    queued = QueuedMail(
        path=mail_queue.new_path(folder),
        content=message.as_bytes(),
        sender=specs[0],
        recipients=list(dict.fromkeys(specs[1:])),
        subject=str(message["Subject"]),
    )
    extra, outcome = [], QUEUED
    try:
        mail_queue.store(queued)
    except OSError as error:
        # A full disk is a reason to write, not to be silent.
        say(f"cannot be kept in {folder}: {explain(error, environ)}")
        extra, outcome = [queued], LOST
    if queued.path in send_waiting(mail, folder, extra, environ):
        outcome = SENT
    elif outcome == QUEUED:
        say(f"waits in {folder} for the next run: {queued.subject!r}")
    last = {"time": datetime.now(UTC).isoformat(), "outcome": outcome, "subject": queued.subject}
    try:
        write_text(folder / "last", json.dumps(last) + "\n")
    except OSError as error:
        say(f"{folder}: {error}")
    return outcome


# What others call


def send_queued(config: Configuration | Unchecked, environ: Mapping[str, str] = os.environ) -> None:
    """Send what waits from earlier runs; never raise."""
    with errors_reported():
        mail, folder = usable_mail(config), queue_of(config)
        if mail is None:
            # Mails grow old whether they can be sent or not.
            mail_queue.waiting(folder)
        elif mail_queue.queued_messages(folder):
            send_waiting(mail, folder, [], environ)


def alert(
    config: Configuration | Unchecked,
    subject: str,
    text: str,
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Send an alert, which may be about a wrong configuration; never raise.

    The telescope's name is put before the subject, and after the text where to look for help.

    Returns
    -------
    bool
        Whether somebody received it; if not it waits in the queue, if mail is wanted at all.
    """
    outcome = LOST
    with errors_reported():
        mail = usable_mail(config)
        if mail and mail.when != "never":
            message = compose(mail, f"{config.telescope}: {subject}", with_guide(subject, text))
            outcome = post(mail, queue_of(config), message, environ)
    return outcome == SENT


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn any error into a line: the run is more important than its mail."""
    try:
        yield
    except Exception as error:
        say(f"not sent: {type(error).__name__}: {error}")


def mailed_since(config: Configuration | Unchecked, begin: datetime) -> bool:
    """Return whether a mail was sent, or is kept for the next run, since a time with its zone."""
    try:
        last = json.loads((queue_of(config) / "last").read_text())
        return datetime.fromisoformat(last["time"]) >= begin and last["outcome"] != LOST
    except (OSError, ValueError, KeyError, TypeError):
        return False
