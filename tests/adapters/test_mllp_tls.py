"""MLLP over TLS on real sockets: who is let in, what the handler learns of them, and what a stranger costs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.certificates import Renewed, normal, sending
from adapters.contract import Peer
from adapters.frames import wrap
from adapters.mllp import Limits, Listener, NoAnswer, Sender
from tests.adapters.test_mllp import connected, echo, eventually
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Secured:
    """A listener over TLS that wants certificates of one authority, and what it learnt of its peers."""

    def __init__(self, listener: Listener, authority: Authority, peers: list[Peer]) -> None:
        self.listener, self.authority, self.peers = listener, authority, peers

    def sender(self, context: ssl.SSLContext | None) -> Sender:
        """Return a sender to this listener."""
        return Sender("127.0.0.1", self.listener.port, tls=context)

    def client(self, host: str = "lab.example") -> ssl.SSLContext:
        """Return the context of a sender that shows a certificate."""
        return sending(self.authority.file, *self.authority.issue(host))

    async def answered(self, context: ssl.SSLContext | None) -> bytes:
        """Send one message and return its answer; raises what the sender does."""
        sender = self.sender(context)
        try:
            return await sender.send(b"A")
        finally:
            await sender.close()


@contextlib.asynccontextmanager
async def listening(authority: Authority, *trusted: Path, **limits: float) -> AsyncIterator[Secured]:
    peers: list[Peer] = []

    async def note(message: bytes, peer: Peer) -> bytes:
        peers.append(peer)
        return b"ACK " + message

    ours = Renewed(*authority.issue("127.0.0.1"), trusted[0] if trusted else authority.file)
    given = Limits(**limits)  # type: ignore[arg-type]
    listener = await Listener.start(note, limits=given, tls=ours.context, door=7)
    try:
        yield Secured(listener, authority, peers)
    finally:
        await listener.stop()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_message_over_tls_comes_with_the_certificate_of_its_sender(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    async with listening(authority) as secured:
        context = secured.client()
        context.minimum_version = context.maximum_version = version
        assert await secured.answered(context) == b"ACK A"
        (peer,) = secured.peers
    der = ssl.PEM_cert_to_DER_cert((authority.file.parent / "lab.example.pem").read_text())
    assert (peer.host, peer.door, peer.tls) == ("127.0.0.1", 7, True)
    assert peer.certificate
    assert peer.certificate.fingerprint == f"sha256:{hashlib.sha256(der).hexdigest()}"
    assert peer.certificate.marks >= {peer.certificate.fingerprint, "dns:lab.example", "cn:lab.example"}
    assert str(peer).endswith(f":{peer.port} {peer.certificate.fingerprint}")


async def test_a_plain_listener_knows_no_certificate() -> None:
    peers: list[Peer] = []

    async def note(message: bytes, peer: Peer) -> bytes:
        peers.append(peer)
        return message

    listener = await Listener.start(note)
    sender = Sender("127.0.0.1", listener.port)
    await sender.send(b"A")
    await sender.close()
    await listener.stop()
    assert [(p.tls, p.certificate, p.door) for p in peers] == [(False, None, None)]


async def test_who_shows_no_certificate_or_anothers_is_not_heard_and_the_others_are(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    async with listening(authority) as secured:
        forged = sending(authority.file, *stranger.issue("lab.example"))
        for context in (sending(authority.file), forged, None):
            with pytest.raises((OSError, NoAnswer)):
                await secured.answered(context)
        await eventually(lambda: secured.listener.failed == 3)
        assert await secured.answered(secured.client()) == b"ACK A"
        assert len(secured.peers) == 1


async def test_a_certificate_that_is_trusted_itself_needs_no_authority(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, key = Authority(tmp_path / "other").issue("lab.example")
    async with listening(authority, certificate) as secured:
        assert await secured.answered(sending(authority.file, certificate, key)) == b"ACK A"
        with pytest.raises((OSError, NoAnswer)):
            await secured.answered(secured.client("else.example"))


async def test_versions_before_1_2_are_refused(authority: Authority) -> None:
    async with listening(authority) as secured:
        context = secured.client()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((OSError, NoAnswer)):
            await secured.answered(context)
        await eventually(lambda: secured.listener.failed == 1)


async def test_who_does_not_finish_the_handshake_is_cut_off_and_holds_nobody_up(authority: Authority) -> None:
    async with listening(authority, handshake=1.0) as secured, connected(secured.listener) as mute:
        assert await secured.answered(secured.client()) == b"ACK A"
        assert await mute.answer() == b""
        await eventually(lambda: (secured.listener.failed, secured.listener.connections) == (1, 0))


async def test_stopping_does_not_wait_for_handshakes(authority: Authority) -> None:
    async with listening(authority, handshake=600.0) as secured, connected(secured.listener) as mute:
        await eventually(lambda: secured.listener.connections == 1)
        async with asyncio.timeout(30):
            await secured.listener.stop()
            assert await mute.answer() == b""


async def test_connections_are_counted_from_before_their_handshake(authority: Authority) -> None:
    async with listening(authority, connections=1) as secured, connected(secured.listener):
        await eventually(lambda: secured.listener.connections == 1)
        with pytest.raises((OSError, NoAnswer)):
            await secured.answered(secured.client())
        assert secured.listener.refused == 1


async def test_one_address_has_its_own_limit_and_takes_nobody_elses_place() -> None:
    listener = await Listener.start(echo, limits=Limits(each=1))
    async with connected(listener) as first:
        first.writer.write(wrap(b"A"))
        assert await first.answer() == b"ACK A"
        async with connected(listener) as second:
            with contextlib.suppress(ConnectionError):
                assert await second.answer() == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, local_addr=("127.0.0.2", 0))
        writer.write(wrap(b"B"))
        assert await reader.readuntil(b"\x1c") == b"\x0bACK B\x1c"
        writer.close()
        assert listener.refused == 1
    await eventually(lambda: listener.connections == 0)
    async with connected(listener) as again:
        again.writer.write(wrap(b"C"))
        assert await again.answer() == b"ACK C"
    await listener.stop()


async def shown(port: int, authority: Authority) -> bytes:
    """Return the certificate that a listener without authorities shows."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=sending(authority.file))
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return found


def replaced(file: Path, by: Path) -> None:
    """Put a file in the place of another at once, as those who renew certificates do."""
    copy = file.with_suffix(".new")
    shutil.copy(by, copy)
    os.replace(copy, file)


async def test_a_renewed_certificate_is_shown_to_who_connects_next(authority: Authority) -> None:
    certificate, key = authority.issue("127.0.0.1")
    old = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    ours = Renewed(certificate, key, None)
    listener = await Listener.start(echo, tls=ours.context)
    assert await shown(listener.port, authority) == old
    renewed, its_key = authority.issue("127.0.0.1", "renewed")
    replaced(certificate, renewed)
    assert await shown(listener.port, authority) == old, "its key has not come yet"
    replaced(key, its_key)
    assert await shown(listener.port, authority) == ssl.PEM_cert_to_DER_cert(renewed.read_text())
    key.unlink()
    assert await shown(listener.port, authority) == ssl.PEM_cert_to_DER_cert(renewed.read_text())
    await listener.stop()


async def test_the_sender_wants_proof_of_the_receivers_name(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with listening(authority) as secured:
        wrong = Sender("127.0.0.1", secured.listener.port, tls=secured.client(), server_name="lab.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            await wrong.send(b"A")
        stranger = Authority(tmp_path / "other").file
        with pytest.raises(ssl.SSLCertVerificationError):
            await secured.answered(sending(stranger, *authority.issue("lab.example")))
        assert secured.peers == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("SHA256: " + "AB:" * 31 + "AB", "sha256:" + "ab" * 32),
        ("dns:Lab.Example.", "dns:lab.example"),
        ("cn:Northlab", "cn:Northlab"),
        ("ip:2001:DB8::1", "ip:2001:db8::1"),
        ("email:IT@Lab.example", "email:it@lab.example"),
    ],
)
def test_fingerprints_and_names_are_compared_in_one_form(given: str, found: str) -> None:
    assert normal(given) == found


@pytest.mark.parametrize("given", ["", "lab.example", "dns:", "ip:nowhere", "sha256:zz", "sha1:" + "ab" * 20])
def test_what_is_neither_fingerprint_nor_name_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normal(given)


def test_a_listener_that_cannot_have_its_port_says_which() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: address already in use"):
            asyncio.run(Listener.start(echo, port=port))  # type: ignore[arg-type]
