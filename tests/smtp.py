"""Real SMTP servers for tests, on 127.0.0.1 and free ports, with certificates made on the spot."""

import asyncio
import email
import email.policy
import logging
import os
import socket
import ssl
import threading
import warnings
from pathlib import Path

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

USER = "robot@obs.example"
PASSWORD = "horse  battery/Staple=7"  # noqa: S105 - of a server that lives as long as its test

# aiosmtpd writes a traceback when a client rightly refuses its certificate.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Authority:
    """A certificate authority that nobody trusts unless it is named."""

    def __init__(self, folder: Path):
        self.ca = trustme.CA()
        self.path = folder / f"ca-{os.urandom(4).hex()}.pem"
        self.ca.cert_pem.write_to_path(self.path)

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what a server of these names needs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


class MailServer:
    """An SMTP server that keeps what it receives.

    Parameters
    ----------
    context : SSLContext, optional
        Its certificate; without one it offers no encryption.
    security : str
        starttls, tls or none.
    refused : dict
        Answer to a recipient that it does not take.
    answer : str, optional
        What it says to a message that was handed over.
    echo : bool
        Whether its answer to a wrong password repeats it.
    hang : bool
        Whether it goes silent once it has a message's last line.
    """

    def __init__(
        self, context=None, security="starttls", refused=None, answer="", echo=False, hang=False
    ):
        self.received: list[tuple[list[str], email.message.EmailMessage]] = []
        self.encrypted: list[bool] = []
        self.logins: list[str] = []
        self.refused, self.answer = refused or {}, answer
        self.echo, self.hang = echo, hang
        self.hanging = threading.Event()
        tls = {}
        if security == "starttls" and context:
            tls = {"tls_context": context, "require_starttls": True}
        elif security == "tls":
            tls = {"ssl_context": context}
        self.port = free_port()
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            server_hostname="localhost",
            authenticator=self.check,
            auth_required=bool(context),
            # It does not know its TLS from the first byte for what it is.
            auth_require_tls=security == "starttls",
            **tls,
        )

    def check(self, server, session, envelope, mechanism, login) -> AuthResult:
        assert isinstance(login, LoginPassword)
        user, password = login.login.decode(), login.password.decode()
        if (user, password) == (USER, PASSWORD):
            self.logins.append(user)
            return AuthResult(success=True)
        if self.echo:
            words = f"535 5.7.8 {user} may not log in with {password}"
            return AuthResult(success=False, handled=False, message=words)
        return AuthResult(success=False, handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.hang:
            self.hanging.set()
            await asyncio.sleep(3600)
        if self.answer:
            return self.answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.received.append((list(envelope.rcpt_tos), message))
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 taken"

    def subjects(self) -> list[str]:
        return [message["Subject"] for _, message in self.received]

    def __enter__(self) -> "MailServer":
        self.controller.start()
        return self

    def __exit__(self, *error) -> None:
        self.controller.stop(no_assert=True)


class Silent:
    """A server that takes connections and says nothing, or a byte now and then without an end."""

    def __init__(self, drip: bool = False):
        self.drip = drip
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self) -> None:
        try:
            connection, _ = self.socket.accept()
        except OSError:
            return
        with connection:
            while not self.stop.wait(0.05):
                if self.drip:
                    try:
                        connection.send(b"2")
                    except OSError:
                        return

    def __enter__(self) -> "Silent":
        self.thread.start()
        return self

    def __exit__(self, *error) -> None:
        self.stop.set()
        self.socket.close()
        self.thread.join()
