"""A token is good as long as what it stands on: its grant, its client, its person and their place in the clinic."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fhir_server.smart.tokens import mint
from fhir_server.store import grants, keys, people
from fhir_server.store.grants import OauthGrant
from tests.fhir import Client
from tests.people import member, token_of

SECOND = timedelta(seconds=1)


async def granted(fhir: Client, grant_id: str) -> str:
    """Return a token of an oauth_grant of this id."""
    key = await keys.active(fhir.concord.db, fhir.tenant_id)
    tenant = fhir.tenant_as_named()
    return mint(
        key, fhir.base, fhir.clock(), tenant=tenant, scope="system/*.rs", subject="c", client="c", grant_id=grant_id
    )


async def test_a_token_of_a_person_stands_until_the_person_is_disabled(fhir: Client) -> None:
    person = await member(fhir, "clinic-admin")
    token = await token_of(fhir, person)
    assert (await fhir.get("/Patient", token=token)).status_code == 200
    await people.disable(fhir.concord.db, person.id, fhir.clock())
    fhir.clock.move(SECOND)
    assert (await fhir.get("/Patient", token=token)).status_code == 401


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_a_token_of_a_grant_stands_only_while_the_grant_is_there_and_not_revoked(
    fhir: Client, known: bool
) -> None:
    db, now = fhir.concord.db, fhir.clock()
    if known:
        async with db.transaction(fhir.tenant_id) as tx:
            grants.add(tx, OauthGrant(id="g", client_id="c", scope="system/*.rs", created=now))
    token = await granted(fhir, "g")
    assert (await fhir.get("/Patient", token=token)).status_code == (200 if known else 401)
    async with db.transaction(fhir.tenant_id) as tx:
        grants.revoke(tx, "g", "tried out", now)
    fhir.clock.move(SECOND)
    assert (await fhir.get("/Patient", token=token)).status_code == 401


async def test_a_grant_of_another_tenant_lends_nothing(fhir: Client, other: Client) -> None:
    async with other.concord.db.transaction(other.tenant_id) as tx:
        grants.add(tx, OauthGrant(id="g", client_id="c", scope="system/*.rs", created=fhir.clock()))
    assert (await fhir.get("/Patient", token=await granted(fhir, "g"))).status_code == 401


async def test_a_person_of_another_clinic_is_not_let_in(fhir: Client, other: Client) -> None:
    person = await member(other, "clinic-admin")
    assert (await fhir.get("/Patient", token=await token_of(fhir, person))).status_code == 401
