"""TLS by setting: 1.2 or newer, https in every address, and nothing in plain text on the same port."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fhir_server.settings import Settings, SettingsError
from fhir_server.store import tenants
from tests.certificates import Authority
from tests.fhir import Client, running
from tests.flows.serve import Serve, concord


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secure(server_dsn: str, authority: Authority) -> AsyncIterator[Client]:
    """Return a client of a server that speaks TLS."""
    certificate, key = authority.issue("127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(authority.file))
    async with (
        running(server_dsn, tls_cert=certificate, tls_key=key) as (concord_, clock),
        httpx.AsyncClient(timeout=30, verify=trusting) as http,
    ):
        tenant = await tenants.add(concord_.db, f"s-{uuid.uuid4().hex[:12]}")
        yield Client(concord_, clock, tenant, http)


async def test_the_server_speaks_https_and_says_so_in_its_addresses(secure: Client) -> None:
    made = await secure.post("/Patient", json={"resourceType": "Patient"})
    assert made.status_code == 201
    assert made.headers["location"].startswith("https://127.0.0.1:")
    assert made.headers["strict-transport-security"] == "max-age=31536000"
    assert (await secure.get("/metadata")).json()["implementation"]["url"] == secure.base


@pytest.mark.parametrize(
    ("version", "welcome"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_versions_before_1_2_are_refused(
    secure: Client, authority: Authority, version: ssl.TLSVersion, welcome: bool
) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_ciphers("ALL:@SECLEVEL=0")
    if welcome:
        context.minimum_version = context.maximum_version = version
    else:
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = context.maximum_version = version
    port = secure.concord.settings.port
    if not welcome:
        # What the other tests of this list show: nothing but the version is wrong with this client.
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)
        return
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    assert writer.get_extra_info("ssl_object").version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    writer.close()
    await writer.wait_closed()


async def test_plain_http_gets_nothing_on_the_port_of_https(secure: Client) -> None:
    with pytest.raises(httpx.TransportError):
        await secure.http.get(secure.base.replace("https://", "http://") + "/metadata")


def test_certificate_and_key_are_given_together_and_must_be_there(authority: Authority) -> None:
    certificate, key = authority.issue("127.0.0.1")
    with pytest.raises(SettingsError, match="given together"):
        Settings.load(tls_cert=certificate)
    with pytest.raises(SettingsError, match="CONCORD_TLS_KEY: must name a file that is there"):
        Settings.load(tls_cert=certificate, tls_key=key.with_name("missing"))


def test_concord_serve_speaks_tls_on_every_process(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("127.0.0.1")
    serve = Serve(tmp_path / "data", tls_cert=str(certificate), tls_key=str(key), http_workers="2")
    try:
        assert serve.http.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(authority.file))
        for _ in range(6):
            assert httpx.get(f"{serve.http}/readyz", verify=trusting).json() == {"status": "ready"}
    finally:
        assert serve.stop() == 0


def test_a_certificate_that_cannot_be_used_stops_the_start_with_a_reason(tmp_path: Path, server_dsn: str) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    given = {"CONCORD_DATABASE_URL": server_dsn, "CONCORD_DATA_DIR": str(tmp_path)}
    files = {"CONCORD_TLS_CERT": str(broken), "CONCORD_TLS_KEY": str(broken)}
    ended = concord("http", "--port", "0", check=False, **given, **files)
    assert ended.returncode != 0
    assert "the certificate cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_certificate_of_mllp_that_cannot_be_used_stops_the_start_with_a_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    files = {"CONCORD_MLLP_TLS_CERT": str(broken), "CONCORD_MLLP_TLS_KEY": str(broken)}
    ended = concord("serve", "--port", "0", check=False, CONCORD_DATA_DIR=str(tmp_path / "data"), **files)
    assert ended.returncode == 1
    assert "the certificate for MLLP cannot be used" in ended.stderr
    assert not (tmp_path / "data").exists(), "nothing was started"
