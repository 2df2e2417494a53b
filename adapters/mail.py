"""Sends mail by SMTP, with TLS where the server is told to speak it: in a thread, for the library blocks.

https://www.rfc-editor.org/rfc/rfc5321 · https://www.rfc-editor.org/rfc/rfc3207 (STARTTLS)
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

Security = Literal["starttls", "tls", "none"]


class Unsent(Exception):
    """The mail was not taken, or nobody knows whether it was; the message is safe to show."""


@dataclass(frozen=True)
class MailServer:
    """Where mail goes; `seconds` bounds each step, `whole` all of them together.

    `authorities` is a PEM file of further certificate authorities.
    """

    host: str
    port: int
    security: Security = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    authorities: Path | None = None
    seconds: float = 10.0
    whole: float = 40.0


def mail(sender: str, to: str, subject: str, text: str, id_: str, now: datetime) -> EmailMessage:
    """Return a mail; the same `id_` lets a reader's program know one that came twice. Raises ValueError."""
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = sender, to, subject
    made["Date"], made["Message-ID"] = format_datetime(now), id_
    # So that no absence is answered.
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(text)
    return made


async def send(server: MailServer, message: EmailMessage) -> None:
    """Have the server take a mail. Raises Unsent."""
    try:
        async with asyncio.timeout(server.whole):
            await asyncio.to_thread(_send, server, message)
    except TimeoutError:
        raise Unsent(f"the mail server {server.host} took longer than {server.whole:g} s") from None


def _send(server: MailServer, message: EmailMessage) -> None:
    try:
        with _connected(server) as smtp:
            if server.security == "starttls":
                smtp.starttls(context=_context(server))
            if server.user is not None:
                smtp.login(server.user, server.password or "")
            smtp.send_message(message)
    except smtplib.SMTPResponseException as problem:
        # The code alone: a server may repeat what it was told.
        raise Unsent(f"the mail server {server.host} answered {problem.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused as problem:
        codes = sorted({str(code) for code, _ in problem.recipients.values()})
        raise Unsent(f"the mail server {server.host} takes no mail for its recipient ({', '.join(codes)})") from None
    except (smtplib.SMTPException, OSError) as problem:
        raise Unsent(f"the mail server {server.host} cannot be used: {type(problem).__name__}") from None


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.seconds, context=_context(server))
    return smtplib.SMTP(server.host, server.port, timeout=server.seconds)


def _context(server: MailServer) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.authorities is not None:
        context.load_verify_locations(cafile=str(server.authorities))
    return context
