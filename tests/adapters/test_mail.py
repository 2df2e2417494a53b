"""Mail as a mail server takes it: by STARTTLS, by TLS, signed in; and what is told of one that does not take it."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from adapters.mail import MailServer, Security, Unsent, mail, send
from tests.certificates import Authority
from tests.mailbox import receiving

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give an authority that signs certificates."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ssl.SSLContext:
    """Give the context of a server on this machine."""
    return authority.server("127.0.0.1")


def letter(to: str = "ada@example.org") -> EmailMessage:
    return mail("concord@example.org", to, "Størung", "Grüße\n", "<1@example.org>", NOW)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_goes_out_by_tls_and_signed_in(
    security: Security, authority: Authority, tls: ssl.SSLContext
) -> None:
    async with receiving(tls, ("concord", "s3cret"), at_once=security == "tls") as box:
        server = MailServer("127.0.0.1", box.port, security, "concord", "s3cret", authority.file)
        await send(server, letter())
    (got,) = box.mails
    assert box.secured == [True]
    assert box.recipients == [["ada@example.org"]]
    assert (got["subject"], got.get_content(), got["message-id"]) == ("Størung", "Grüße\r\n", "<1@example.org>")
    assert got["auto-submitted"] == "auto-generated"


async def test_a_password_never_goes_out_where_tls_was_promised_and_is_not_spoken() -> None:
    async with receiving(login=("concord", "s3cret")) as box:
        with pytest.raises(Unsent):
            await send(MailServer("127.0.0.1", box.port, "starttls", "concord", "s3cret"), letter())
    assert box.tries == 0


async def test_a_server_with_a_certificate_of_nobody_gets_nothing(tls: ssl.SSLContext) -> None:
    async with receiving(tls) as box:
        with pytest.raises(Unsent, match="SSLCertVerificationError"):
            await send(MailServer("127.0.0.1", box.port), letter())
    assert box.tries == 0


async def test_a_refusal_is_told_by_its_code_without_what_was_sent() -> None:
    async with receiving(login=("concord", "right")) as box:
        with pytest.raises(Unsent, match="535") as failure:
            await send(MailServer("127.0.0.1", box.port, "none", "concord", "wr0ng"), letter())
        assert "wr0ng" not in str(failure.value)
    async with receiving() as box:
        box.answer = "451 later, ada@example.org"
        with pytest.raises(Unsent, match=r"answered 451$"):
            await send(MailServer("127.0.0.1", box.port, "none"), letter())
        box.unknown = {"ada@example.org"}
        with pytest.raises(Unsent, match="550"):
            await send(MailServer("127.0.0.1", box.port, "none"), letter())


async def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(Unsent, match="ConnectionRefusedError"):
        await send(MailServer("127.0.0.1", 1, "none"), letter())


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    talking = asyncio.Event()

    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talking.wait()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unsent, match=r"longer than 0\.1 s"):
        await send(MailServer("127.0.0.1", port, "none", whole=0.1), letter())
    talking.set()
    with pytest.raises(Unsent, match="cannot be used"):
        await send(MailServer("127.0.0.1", port, "none", seconds=0.2), letter())
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("bad", ["a@example.org\r\nBcc: b@example.org", "a@example.org\nX: y"])
def test_no_header_can_be_smuggled_in(bad: str) -> None:
    with pytest.raises(ValueError):
        letter(bad)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    assert "s3cret" not in repr(MailServer("h", 1, "none", "u", "s3cret"))
