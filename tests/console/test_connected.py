"""What somebody has given to apps, and how they take it back: at once, all of it, in one clinic."""

from __future__ import annotations

from datetime import timedelta

from fhir_server.context import Member
from fhir_server.smart.authorize import Actor
from fhir_server.store import people
from fhir_server.store.people import Person
from tests.agreeing import Answering, answering
from tests.apps import app
from tests.fhir import Client
from tests.signin import somebody

SCOPE = "launch/patient openid offline_access patient/Patient.rs patient/Coverage.cud"


def acting(fhir: Client, person: Person) -> Actor:
    member = Member(person.id, "clinic-admin", None)
    return Actor(person.id, person.sub, person.name, member, b"session of the test", fhir.clock())


async def opened(fhir: Client, person: Person) -> Answering:
    return await (await answering(fhir, person)).opens(f"{fhir.concord.base_url}/{fhir.tenant}/apps")


async def taken_back(page: Answering, client_id: str) -> int:
    """Press the button under an app, and return the status of the answer."""
    fields = {"proof": page.page.text.partition('name="proof" value="')[2].partition('"')[0], "client": client_id}
    page.page = await page.http.post(str(page.page.request.url.path), data=fields)
    return page.page.status_code


async def test_an_app_is_shown_with_what_it_may_do_and_ends_at_once(fhir: Client) -> None:
    person, asking = await somebody(fhir, "clinic-admin"), await app(fhir)
    name = [{"family": "Ångström"}]
    patient = (await fhir.post("/Patient", json={"resourceType": "Patient", "name": name})).json()["id"]
    given = [await asking.granted(acting(fhir, person), SCOPE, patient=patient) for _ in range(2)]
    page = await opened(fhir, person)
    for words in ("An app", "Ångström", "Name, address and birth date (see)", "Insurance (add, change and delete)"):
        assert page.text.count(words) == 1 or words == "An app", words
    token = given[0]["access_token"]
    assert (await fhir.get(f"/Patient/{patient}", token=token)).status_code == 200
    assert await taken_back(page, asking.client_id) == 200
    assert "Its access has ended." in page.text
    assert "No application has access in your name here." in page.text
    for one in given:
        assert (await fhir.get(f"/Patient/{patient}", token=one["access_token"])).status_code == 401
        assert (await asking.refresh(one["refresh_token"])).json()["error"] == "invalid_grant"
    counted = "jsonb_array_length(detail->'grants')"
    sql = f"select outcome, subject, {counted} from audit where action = 'revoke' and client = %s"
    assert await fhir.concord.db.fetch(fhir.tenant_id, sql, (asking.client_id,)) == [(200, person.sub, 2)]
    assert await taken_back(page, asking.client_id) == 404
    await page.http.aclose()


async def test_what_another_person_gave_is_neither_shown_nor_ended(fhir: Client) -> None:
    ada, eve, asking = await somebody(fhir, "clinic-admin"), await somebody(fhir, "physician"), await app(fhir)
    given = await asking.granted(acting(fhir, ada), "user/Patient.rs")
    page = await opened(fhir, eve)
    assert "No application has access" in page.text
    assert await taken_back(page, asking.client_id) == 404
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    await page.http.aclose()


async def test_what_was_given_in_one_clinic_is_not_shown_in_another_to_which_the_page_leads(
    fhir: Client, other: Client
) -> None:
    person, asking = await somebody(fhir, "attorney"), await app(fhir)
    await people.enrol(fhir.concord.db, other.tenant_id, person.id, "attorney", None, fhir.clock())
    given = await asking.granted(acting(fhir, person), "user/Patient.rs")
    page = await opened(fhir, person)
    assert f'href="/{other.tenant}/apps"' in page.page.text
    await page.opens(f"{fhir.concord.base_url}/{other.tenant}/apps")
    assert "No application has access" in page.text
    assert f'href="/{fhir.tenant}/apps"' in page.page.text
    assert await taken_back(page, asking.client_id) == 404
    assert given["scope"] == "user/Patient.rs"
    await page.http.aclose()


async def test_what_is_over_by_itself_is_not_shown(fhir: Client) -> None:
    person, asking = await somebody(fhir, "clinic-admin"), await app(fhir)
    await asking.granted(acting(fhir, person), "user/Patient.rs")
    fhir.clock.move(timedelta(hours=2))
    page = await opened(fhir, person)
    assert "No application has access" in page.text
    await page.http.aclose()


async def test_the_page_is_for_members_of_the_clinic_who_are_signed_in(fhir: Client) -> None:
    stranger = await opened(fhir, await somebody(fhir, None))
    assert stranger.page.status_code == 403
    stranger.http.cookies.clear()
    await stranger.opens(f"{fhir.concord.base_url}/{fhir.tenant}/apps")
    assert stranger.page.request.url.path == "/login"
    await stranger.http.aclose()
