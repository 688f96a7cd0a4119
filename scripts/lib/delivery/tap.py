"""Questions to ESO's archive: ADQL over TAP, signed with a token that user and password give.

ESO's token service takes both in the address of the request, as its own examples and astroquery
do. Errors of the libraries below quote addresses. So no error leaves this module but `TryLater`,
whose text is free of secrets and which has no cause that could be printed with it.
"""

import warnings
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from pyvo.dal import DALOverflowWarning, TAPService

from scripts.lib.files.deadline import within
from scripts.lib.files.errors import TryLater
from scripts.lib.settings.passwords import redacted

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


class Service(NamedTuple):
    """Where to ask and where to log in; seconds that both have together."""

    address: str
    token_address: str
    timeout: float


def ask(service: Service, query: str, login: tuple[str, str] | None) -> list[dict[str, str]]:
    """Return the rows that answer a query, as texts.

    Raises `TryLater`, without any secret, if there is no answer, or not the whole one.
    """
    secrets, host = [*(login or ())], urlsplit(service.address).netloc

    def rows() -> list[dict[str, str]]:
        with requests.Session() as session:
            if login:
                token = fetch_token(session, service.token_address, *login)
                secrets.append(token)

                def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
                    request.headers["Authorization"] = f"Bearer {token}"
                    return request

                # In the place of what a .netrc may hold for the host.
                session.auth = sign
            return fetch_rows(session, service.address, query)

    try:
        return within(service.timeout, host, rows)
    except TryLater as error:
        text = str(error)
    except Exception as error:  # Of three libraries and the network: whatever it is, no answer.
        text = f"{host}: {type(error).__name__}: {error}"
    # Outside of the handler: an error raised there would drag the first one along.
    raise TryLater(" ".join(redacted(text, secrets).split())[:LONGEST])


def fetch_token(session: requests.Session, address: str, user: str, password: str) -> str:
    """Return the token for a user; without one raise `TryLater`."""
    login = {"username": user, "password": password}
    host = urlsplit(address).netloc
    try:
        # Whoever a redirection leads to must not get the password.
        response = session.get(address, params=CLIENT | login, allow_redirects=False)
    except requests.RequestException as error:
        # The library's text begins with the whole address, which is long and secret.
        first = error.args[0] if error.args else ""
        cause = getattr(first, "reason", first) or type(error).__name__
        raise TryLater(f"{host}: {cause}") from None
    if response.status_code in (400, 401, 403):
        raise TryLater(f"{host} refuses {USER} or {PASSWORD} (HTTP {response.status_code})")
    if response.status_code != 200:
        raise TryLater(f"{host} gives no token (HTTP {response.status_code})")
    try:
        token = response.json()["id_token"]
    except (ValueError, KeyError, TypeError):
        token = ""
    if not isinstance(token, str) or not token.isascii() or not token:
        raise TryLater(f"{host} gives no token: there is none in its answer")
    return token


def fetch_rows(session: requests.Session, address: str, query: str) -> list[dict[str, str]]:
    """Return all rows that answer a query, empty cells as empty texts, or raise `TryLater`."""
    with warnings.catch_warnings():
        # A row that is cut off would look like a product that is missing.
        warnings.simplefilter("error", DALOverflowWarning)
        table = TAPService(address, session=session).run_sync(query, maxrec=MOST_ROWS).to_table()
    if len(table) >= MOST_ROWS:
        raise TryLater(f"more than {MOST_ROWS} rows")
    texts = ({name: str(row[name]).strip() for name in table.colnames} for row in table)
    return [{key: "" if text == "--" else text for key, text in row.items()} for row in texts]
