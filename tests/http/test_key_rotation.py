"""New signing keys: what they sign is verified at once, what the old ones signed until it expires."""

from __future__ import annotations

from datetime import timedelta

import jwt

from fhir_server.context import Tenant
from fhir_server.smart.tokens import mint
from fhir_server.store import keys
from tests.apps import actor, app
from tests.fhir import Client
from tests.people import member


async def test_tokens_of_before_and_after_are_good_and_the_key_set_verifies_both(fhir: Client) -> None:
    person = actor(fhir, await member(fhir, "clinic-admin"), "clinic-admin")
    asking = await app(fhir)
    before = await asking.granted(person, "openid offline_access user/*.rs")
    for alg in (keys.ALGORITHM, keys.IDENTITY_ALGORITHM):
        await keys.rotate(fhir.concord.db, fhir.tenant_id, alg)
    after = await asking.granted(person, "openid user/*.rs")
    published = (await fhir.http.get(f"{asking.oauth}/jwks")).json()["keys"]
    known = {key["kid"]: jwt.PyJWK(key) for key in published}
    kids = set()
    for given in (before, after):
        for token, alg, audience in (
            (given["access_token"], "ES256", fhir.base), (given["id_token"], "RS256", asking.client_id)
        ):  # fmt: skip
            kid = jwt.get_unverified_header(token)["kid"]
            assert jwt.decode(token, known[kid], algorithms=[alg], audience=audience)["iss"] == fhir.base
            kids.add(kid)
        assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    assert len(kids) == 4
    assert (await asking.refresh(before["refresh_token"])).status_code == 200
    assert not any("d" in key for key in published)


async def test_one_clinics_new_keys_leave_anothers_alone(fhir: Client, other: Client) -> None:
    kept = await keys.active(other.concord.db, other.tenant_id)
    await keys.rotate(fhir.concord.db, fhir.tenant_id)
    assert (await keys.active(other.concord.db, other.tenant_id)).kid == kept.kid


async def test_what_a_revoked_key_signed_counts_no_more_and_apps_go_on_by_refreshing(
    fhir: Client, other: Client
) -> None:
    person = actor(fhir, await member(fhir, "clinic-admin"), "clinic-admin")
    asking = await app(fhir)
    before = await asking.granted(person, "openid offline_access user/*.rs")
    elsewhere = await other.token("system/*.rs")
    assert (await fhir.get("/Patient", token=before["access_token"])).status_code == 200
    old = await keys.active(fhir.concord.db, fhir.tenant_id)
    await keys.rotate(fhir.concord.db, fhir.tenant_id)
    assert await keys.revoke(fhir.concord.db, fhir.tenant_id) == 1
    forged = mint(old, fhir.base, fhir.clock(), tenant=Tenant(fhir.tenant_id, fhir.tenant), scope="system/*.cruds",
                  subject="thief", client="thief")  # fmt: skip
    fhir.clock.move(timedelta(seconds=2))
    for token in (before["access_token"], forged):
        assert (await fhir.get("/Patient", token=token)).status_code == 401
    published = (await fhir.http.get(f"{asking.oauth}/jwks")).json()["keys"]
    assert old.kid not in {key["kid"] for key in published}
    after = (await asking.refresh(before["refresh_token"])).json()
    assert (await fhir.get("/Patient", token=after["access_token"])).status_code == 200
    assert (await other.get("/Patient", token=elsewhere)).status_code == 200
