"""Mail the reset links of forgotten passwords, one after another, in the background."""

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

from flask import Flask

from ..concurrency import runtime
from ..concurrency.bounded_queue import BoundedQueue
from ..db.rate_limits import Hits, Limit
from ..services import services
from . import accounts, reset_links

# Mails per address. Of an address, not an account: users can change theirs and change it back.
MAIL_LIMIT = Limit("mail/", 1, 300)
# Seconds for each exchange with the mail server, and for a mail in the queue.
SMTP_TIMEOUT, WAIT_TIMEOUT = 10, 300
MAX_WAITING = 200
SUBJECT = "Set a new password"
TEXT = """Hello {username},

someone, probably you, asked for a new password on the scoreboard. Set it here, once and within 24
hours:

{url}

If it was not you, ignore this mail: your password stays as it is.
"""


class Mailer:
    """Mails the reset links of one application."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._queue = BoundedQueue(1, MAX_WAITING, WAIT_TIMEOUT)

    def send_reset_link(self, email: str) -> None:
        """Mail a reset link to the account with this address, if there is one. Returns at once.

        At most one mail in 5 minutes goes to an address. If the queue is full, the mail is dropped.
        Failures are logged.
        """
        runtime.spawn(self._work, email)

    def _work(self, email: str) -> None:
        settings = self._app.config
        with self._app.app_context(), self._queue.slot():
            account = accounts.by_email(email)
            if account is None:
                return
            (quota,) = services().rate_limits.acquire([Hits(email, 1, [MAIL_LIMIT])])
            if quota.amount < 1:
                return
            link = reset_links.create(account.user_id)
            text = TEXT.format(username=account.username, url=link.url(settings["PUBLIC_URL"]))
            runtime.run_in_thread(_send, settings["SMTP_URL"], email, text)


def _send(smtp_url: str, to: str, text: str) -> None:
    """Send a mail. Blocks. Raises smtplib's errors or OSError."""
    message = EmailMessage()
    message["From"], message["To"] = parse_qs(urlsplit(smtp_url).query)["from"][0], to
    message["Subject"] = SUBJECT
    message.set_content(text)
    with signed_in(smtp_url) as server:
        server.send_message(message)


@contextlib.contextmanager
def signed_in(smtp_url: str) -> Iterator[smtplib.SMTP]:
    """Connect to the mail server for the context, and sign in if the URL has a user.

    Blocks. Raises smtplib's errors or OSError.
    """
    url = urlsplit(smtp_url)
    tls, address = ssl.create_default_context(), (url.hostname or "", url.port or 0)
    server: smtplib.SMTP
    if url.scheme == "smtps":
        server = smtplib.SMTP_SSL(*address, timeout=SMTP_TIMEOUT, context=tls)
    else:
        server = smtplib.SMTP(*address, timeout=SMTP_TIMEOUT)
    with server:
        server.ehlo()
        if url.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=tls)
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        yield server
