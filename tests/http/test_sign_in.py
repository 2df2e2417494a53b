"""Signing in with address, password and second factor, and what somebody who is not the person may not do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from fhir_server.store import tenants
from tests.fhir import Client, running
from tests.signin import QUICK, Visitor, app_for, somebody, visitor


@pytest.fixture
async def fhir(server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of a server that hashes quickly and forgives no address too many failures."""
    async with running(server_dsn, **QUICK) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        tenant = await tenants.add(concord.db, f"t-{concord.settings.port}-{id(http)}")
        async with concord.db.transaction(None) as tx:
            tx.defer("delete from sign_in_failure where kind = 'address'")
        yield Client(concord, clock, tenant, http)


@pytest.fixture
async def ada(fhir: Client) -> AsyncIterator[Visitor]:
    """Return a visitor."""
    async with visitor(fhir) as made:
        yield made


async def signed_in(page: httpx.Response) -> bool:
    return page.url.path == "/account" and page.status_code == 200


async def test_who_signs_in_first_sets_up_a_second_factor_and_is_then_in(fhir: Client, ada: Visitor) -> None:
    person = await somebody(fhir)
    page = await ada.sign_in(person)
    assert page.url.path == "/login/second"
    half = ada.cookie
    await ada.enrol()
    assert len(set(ada.codes())) == 10
    assert ada.cookie not in (None, half)
    assert person.name in (await ada.get("/account")).text


async def test_a_half_session_opens_nothing(fhir: Client, ada: Visitor) -> None:
    person = await somebody(fhir)
    await app_for(fhir, person)
    await ada.sign_in(person)
    assert (await ada.get("/account")).url.path == "/login"
    api = await ada.http.get(f"/{fhir.tenant}/api/messages/counts")
    assert api.status_code == 401
