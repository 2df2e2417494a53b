"""A mail server for tests, on a free loopback port: what it takes is kept, and it can be told to refuse."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


class Mailbox:
    """What came in: `mails`, and whether each connection spoke TLS. `answer` is what DATA gets."""

    def __init__(self, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.secured: list[bool] = []
        self.answer = "250 taken"
        self.unknown: set[str] = set()
        self.tries = 0
        self.port = 0
        self._tls = tls
        self._login = login

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP with one client."""
        try:
            await self._speak(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            return
        finally:
            writer.close()

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        secured, known = writer.get_extra_info("ssl_object") is not None, self._login is None
        to: list[str] = []
        await say("220 here")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb in ("EHLO", "HELO"):
                offers = ["250-here", *(["250-STARTTLS"] if self._tls and not secured else []), "250 AUTH PLAIN"]
                await say("\r\n".join(offers))
            elif verb == "STARTTLS" and self._tls:
                await say("220 go on")
                await writer.start_tls(self._tls)
                secured = True
            elif verb == "AUTH":
                known = self._login is not None and _given(line) == self._login
                await say("235 welcome" if known else "535 no")
            elif verb == "RCPT":
                address = line.partition("<")[2].rstrip(">")
                to.append(address)
                await say("550 nobody" if address in self.unknown else "250 ok" if known else "530 who are you")
            elif verb == "DATA":
                await say("354 go on")
                content = await reader.readuntil(b"\r\n.\r\n")
                self.tries += 1
                if self.answer.startswith("2"):
                    self.mails.append(message_from_bytes(content[:-3], policy=default))
                    self.recipients.append(to)
                    self.secured.append(secured)
                to = []
                await say(self.answer)
            elif verb == "QUIT":
                await say("221 bye")
                return
            else:
                await say("250 ok")


def _given(line: str) -> tuple[str, str]:
    _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
    return user, password


@asynccontextmanager
async def receiving(
    tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None, *, at_once: bool = False
) -> AsyncIterator[Mailbox]:
    """Give a running mail server; `at_once` speaks TLS from the first byte, otherwise after STARTTLS."""
    box = Mailbox(None if at_once else tls, login)
    server = await asyncio.start_server(box.serve, "127.0.0.1", 0, ssl=tls if at_once else None)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
