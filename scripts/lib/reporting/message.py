"""Messages: addresses, text that can go into one, and the form of a mail."""

import re
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from email.contentmanager import raw_data_manager
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import Compat32
from email.utils import format_datetime, formataddr, make_msgid, parseaddr

from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.records import Mail

LONGEST_SUBJECT = 160
LONGEST_LINE = 300
# Colours and the like.
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# The newer policies put blanks into long names that are not ASCII (Python 3.11).
POLICY = Compat32(linesep="\r\n")


def clean(text: str) -> str:
    """Return text without control characters; bytes that are not text become replacement marks.

    File names and logs may hold both.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = TERMINAL.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def shortened(text: str, longest: int) -> str:
    """Return text that is not longer than that."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def flat(text: str, longest: int = LONGEST_LINE) -> str:
    """Return text in one line that can neither end a header nor begin an encoded word in it."""
    return shortened(" ".join(clean(text).split()).replace("=?", "= ?"), longest)


def parse_address(text: str) -> Address:
    """Return an address, ``name@host`` or ``Some Name <name@host>``.

    Raises
    ------
    ConfigurationError
        If it is not one, or not in ASCII: not every server takes others.
    """
    name, spec = parseaddr(text)
    # The library forgives what servers do not: "a@b c" is read as a@bc.
    plain = spec in text and not re.search(r"[\r\n]", text)
    if plain and re.fullmatch(r"[!-~]+@[A-Za-z0-9.\[\]:-]+", spec):
        with suppress(ValueError, IndexError):
            return Address(display_name=flat(name), addr_spec=spec)
    raise ConfigurationError(f"{flat(text)!r} is not a mail address")


def encoded(address: Address) -> str:
    """Return an address in ASCII."""
    if address.display_name.isascii():
        return formataddr((address.display_name, address.addr_spec))
    name = Header(address.display_name, "utf-8", maxlinelen=60).encode(linesep="")
    return f"{name} <{address.addr_spec}>"


def compose(mail: Mail, subject: str, text: str, html: str | None = None) -> EmailMessage:
    """Return a message: plain text, and the same as HTML."""
    message = EmailMessage(policy=POLICY)
    sender = parse_address(mail.sender)
    message["From"] = encoded(sender)
    for name, recipients in (("To", mail.to), ("Cc", mail.cc)):
        if recipients:
            message[name] = ", ".join(encoded(parse_address(one)) for one in recipients)
    message["Subject"] = flat(subject, LONGEST_SUBJECT)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=sender.domain)
    # Holiday notices must not answer.
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable passes every server, and can be read in the queue.
    cte, manager = "quoted-printable", raw_data_manager
    message.set_content(clean(text), cte=cte, content_manager=manager)
    if html is not None:
        message.add_alternative(clean(html), "html", cte=cte, content_manager=manager)
    return message
