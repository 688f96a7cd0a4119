"""Questions to ESO's archive: ADQL over TAP, signed with a token that user and password give.

ESO's token service takes both in the address of the request, as its own examples and astroquery
do. Errors of the libraries below quote addresses. So no error leaves this module but `TapError`,
whose text is free of secrets and which has no cause that could be printed with it.
"""

import html
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, urlsplit

import requests
from pyvo.dal import DALOverflowWarning, TAPService

USER, PASSWORD = "SPECULOOS_ESO_USER", "SPECULOOS_ESO_PASSWORD"
# More than any night has; without a number ESO cuts an answer where it likes.
MOST_ROWS = 100_000
LONGEST = 300
# What ESO's token service expects of everybody.
CLIENT = {
    "response_type": "id_token token",
    "grant_type": "password",
    "client_id": "clientid",
    "client_secret": "clientSecret",
}


class TapError(RuntimeError):
    """There is no answer; the message says why and holds no secret."""


class Expired(BaseException):
    """Time is over; no library takes this for an error of its own and goes on."""


class Service(NamedTuple):
    """Where to ask and where to log in; seconds that both have together."""

    address: str
    token_address: str
    timeout: float


class Bearer(requests.auth.AuthBase):
    """Signs requests with a token, in the place of what a ``.netrc`` may hold for the host."""

    def __init__(self, token: str):
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return a request with the token."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class PatientSession(requests.Session):
    """A session whose requests end: the library below sets no time-out."""

    def __init__(self, timeout: float):
        super().__init__()
        self.timeout = timeout

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request."""
        return super().request(*args, **{"timeout": self.timeout} | kwargs)


def credentials(environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """Return user and password; None to ask as anybody.

    Raises
    ------
    TapError
        If there is one without the other.
    """
    user, password = environ.get(USER, ""), environ.get(PASSWORD, "")
    if bool(user) != bool(password):
        raise TapError(f"{USER} and {PASSWORD}: only one of the two is set")
    return (user, password) if user else None


def ask(service: Service, query: str, login: tuple[str, str] | None) -> list[dict[str, str]]:
    """Return the rows that answer a query, as texts.

    Raises
    ------
    TapError
        If there is no answer, or not the whole one.
    """
    secrets = [*(login or ())]
    try:
        with deadline(service.timeout), PatientSession(service.timeout) as session:
            if login:
                token = fetch_token(session, service.token_address, *login)
                secrets.append(token)
                session.auth = Bearer(token)
            return fetch_rows(session, service.address, query)
    except TapError as error:
        text = str(error)
    except Expired:
        text = f"{urlsplit(service.address).netloc}: no end after {service.timeout:g} s"
    except Exception as error:  # Of three libraries and the network: whatever it is, no answer.
        text = f"{urlsplit(service.address).netloc}: {type(error).__name__}: {error}"
    # Outside of the handler: an error raised there would drag the first one along.
    raise TapError(" ".join(redacted(text, secrets).split())[:LONGEST])


def fetch_token(session: requests.Session, address: str, user: str, password: str) -> str:
    """Return the token for a user.

    Raises
    ------
    TapError
        If there is none.
    """
    login = {"username": user, "password": password}
    # Whoever a redirection leads to must not get the password.
    where = urlsplit(address).netloc
    try:
        response = session.get(address, params=CLIENT | login, allow_redirects=False)
    except requests.RequestException as error:
        # The library's text begins with the whole address, which is long and secret.
        first = error.args[0] if error.args else ""
        cause = getattr(first, "reason", first) or type(error).__name__
        raise TapError(f"{where}: {cause}") from None
    if response.status_code in (400, 401, 403):
        raise TapError(f"{where} refuses {USER} or {PASSWORD} (HTTP {response.status_code})")
    if response.status_code != 200:
        raise TapError(f"{where} gives no token (HTTP {response.status_code})")
    try:
        token = response.json()["id_token"]
    except (ValueError, KeyError, TypeError):
        token = ""
    if not isinstance(token, str) or not token.isascii() or not token:
        raise TapError(f"{where} gives no token: there is none in its answer")
    return token


def fetch_rows(session: requests.Session, address: str, query: str) -> list[dict[str, str]]:
    """Return the rows that answer a query.

    Raises
    ------
    TapError
        If they are not all.
    """
    with warnings.catch_warnings():
        # A row that is cut off would look like a product that is missing.
        warnings.simplefilter("error", DALOverflowWarning)
        table = TAPService(address, session=session).run_sync(query, maxrec=MOST_ROWS).to_table()
    if len(table) >= MOST_ROWS:
        raise TapError(f"more than {MOST_ROWS} rows")
    return [{name: text_of(row[name]) for name in table.colnames} for row in table]


def text_of(value: object) -> str:
    """Return a cell of a table as text; an empty cell is an empty text."""
    return "" if str(value) == "--" else str(value).strip()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `Expired` in what takes longer: other time-outs begin anew with each byte."""

    def expire(signum: int, frame: FrameType | None) -> None:
        raise Expired

    before = signal.signal(signal.SIGALRM, expire)
    # Again and again, should a library swallow the first all the same.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def redacted(text: str, secrets: list[str]) -> str:
    """Return text without secrets, also as they look in addresses and in XML."""
    forms = {
        form
        for secret in secrets
        for form in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
        + (html.escape(secret), repr(secret)[1:-1])
    }
    for form in sorted(filter(None, forms), key=len, reverse=True):
        text = text.replace(form, "***")
    return text
