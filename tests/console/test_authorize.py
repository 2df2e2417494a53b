"""The pages between an app and its access, as a person without a script sees them: choose, agree or not.

https://hl7.org/fhir/smart-app-launch/app-launch.html
"""

from __future__ import annotations

from typing import Any

from fhir_server.store import people
from tests.agreeing import Answering, answering
from tests.apps import App, app, query
from tests.fhir import Client
from tests.signin import somebody

ASKED = "launch/patient openid offline_access patient/Condition.rs patient/Observation.cruds"
VISIT = {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB", "display": "walk-in"}}


async def patient(fhir: Client, family: str, **more: Any) -> str:
    name = [{"family": family, "given": ["Eva"]}]
    return str((await fhir.post("/Patient", json={"resourceType": "Patient", "name": name, **more})).json()["id"])


async def asked(asking: App, ada: Answering, scope: str = ASKED, **changes: Any) -> Answering:
    """Open the page to which the app sends the browser."""
    handle = await asking.begins(scope, **changes)
    return await ada.opens(f"{asking.oauth}/continue?request={handle}")


async def test_the_app_gets_what_is_agreed_to_for_the_chosen_patient(fhir: Client, ada: Answering) -> None:
    chosen, asking = await patient(fhir, "Ångström"), await app(fhir)
    await asked(asking, ada)
    assert "An app , an application at app.example.org that" in ada.text
    await ada.presses("search", ("name", "ångs"))
    await ada.presses("patient", ("patient", chosen))
    assert "Eva Ångström" in ada.text
    assert "It asks to keep this access when you are not there" in ada.text
    back = query((await ada.presses("agree", without=("see-0",))).arrived)
    given = (await asking.redeem(back["code"])).json()
    assert back["state"] == "a state"
    assert given["patient"] == chosen
    assert set(given["scope"].split()) == {"launch/patient", "openid", "offline_access", "patient/Observation.cruds"}
    assert given["refresh_token"]


async def test_access_that_outlasts_the_visit_is_only_given_where_it_is_ticked(fhir: Client, ada: Answering) -> None:
    chosen, asking = await patient(fhir, "One"), await app(fhir)
    await asked(asking, ada)
    await ada.presses("search")
    await ada.presses("patient", ("patient", chosen))
    back = query((await ada.presses("agree", without=("refresh", "change-1"))).arrived)
    given = (await asking.redeem(back["code"])).json()
    assert "refresh_token" not in given
    assert set(given["scope"].split()) == {
        "launch/patient", "openid", "patient/Condition.rs", "patient/Observation.rs",
    }  # fmt: skip


async def test_nothing_ticked_and_not_allowed_are_both_access_denied(fhir: Client, ada: Answering) -> None:
    asking = await app(fhir)
    await asked(asking, ada, "user/Patient.rs")
    denied = query((await ada.presses("agree", without=("see-0",))).arrived)
    await asked(asking, ada, "user/Patient.rs")
    refused = query((await ada.presses("refuse")).arrived)
    assert denied["error"] == refused["error"] == "access_denied"
    assert "code" not in refused | denied


async def test_a_form_cannot_ask_for_more_than_the_app_did(fhir: Client, ada: Answering) -> None:
    asking = await app(fhir)
    await asked(asking, ada, "user/Patient.rs")
    more = [("see-1", "all"), ("change-0", "yes"), ("refresh", "yes"), ("scope", "user/*.cruds")]
    back = query((await ada.presses("agree", *more)).arrived)
    assert (await asking.redeem(back["code"])).json()["scope"] == "user/Patient.rs"


async def test_patients_are_found_by_name_birth_date_and_number(fhir: Client, ada: Answering) -> None:
    mrn = {"type": {"coding": [{"code": "MR"}]}, "system": "http://mrn.example", "value": "77"}
    ssn = {"type": {"coding": [{"code": "SS"}]}, "system": "http://ssn.example", "value": "999-11-2222"}
    await patient(fhir, "First", birthDate="1970-03-30", identifier=[mrn, ssn])
    await patient(fhir, "Second", birthDate="1980-03-30")
    await asked(await app(fhir), ada)
    for field, value in (("name", "fir"), ("born", "1970-03-30"), ("number", "77")):
        await ada.presses("search", (field, value))
        assert "Eva First 1970-03-30 MR 77" in ada.text, field
        assert "Second" not in ada.text, field
        assert "999-11-2222" not in ada.text
    await ada.presses("search", ("name", "fir"), ("born", "1980-03-30"))
    assert "No patient whom you may see matches this." in ada.text
    await ada.presses("search", ("born", "yesterday"))
    assert ada.page.status_code == 400
    assert "yesterday" in ada.text
    assert ada.page.request.url.query == b"", "what is looked for stands in no address"


async def test_many_patients_come_in_pages(fhir: Client, ada: Answering) -> None:
    for number in range(23):
        await patient(fhir, f"Many{number:02}")
    await asked(await app(fhir), ada)
    await ada.presses("search", ("name", "many"))
    first = {name for name in map("Many{:02}".format, range(23)) if name in ada.text}
    await ada.presses("search", last=True)
    second = {name for name in map("Many{:02}".format, range(23)) if name in ada.text}
    assert (len(first), len(second)) == (20, 3)
    assert not first & second


async def test_a_patient_whom_one_may_not_see_cannot_be_chosen(
    fhir: Client, other: Client, ada: Answering
) -> None:  # fmt: skip
    await patient(fhir, "Mine")
    theirs = await patient(other, "Canaryname")
    await asked(await app(fhir), ada)
    await ada.presses("search")
    assert "Canaryname" not in ada.text
    for guess in (theirs, "none", "", "_history", "../Observation", "a b"):
        page = ada.page
        await ada.presses("patient", ("patient", guess))
        assert (ada.page.status_code, "no such patient" in ada.text) == (404, True), guess
        ada.page = page


async def test_a_visit_of_the_patient_is_chosen_or_none(fhir: Client, ada: Answering) -> None:
    chosen, someone = await patient(fhir, "One"), await patient(fhir, "Two")
    visits = [
        (await fhir.post("/Encounter", json={**VISIT, "subject": {"reference": f"Patient/{whose}"}, **more})).json()[
            "id"
        ]
        for whose, more in ((chosen, {"period": {"start": "2026-02-01"}}), (someone, {}))
    ]
    asking = await app(fhir)
    for pick, expected in ((visits[0], visits[0]), (None, None)):
        await asked(asking, ada, "launch/patient launch/encounter patient/*.rs")
        await ada.presses("search")
        await ada.presses("patient", ("patient", chosen))
        assert "walk-in" in ada.text
        assert "2026-02-01" in ada.text
        page = ada.page
        await ada.presses("encounter", ("encounter", visits[1]))
        assert ada.page.status_code == 404, "another patient's visit"
        ada.page = page
        await (ada.presses("encounter", ("encounter", pick)) if pick else ada.presses("none"))
        given = (await asking.redeem(query((await ada.presses("agree")).arrived)["code"])).json()
        assert (given["patient"], given.get("encounter")) == (chosen, expected)


async def test_who_is_not_signed_in_comes_back_to_the_request_afterwards(fhir: Client, ada: Answering) -> None:
    ada.http.cookies.clear()
    await asked(await app(fhir), ada)
    assert ada.page.request.url.path == "/login"
    assert "/oauth/continue" in ada.page.request.url.params["next"]


async def test_a_request_is_one_persons_and_is_answered_once(fhir: Client, ada: Answering) -> None:
    asking = await app(fhir)
    await asked(asking, ada, "user/Patient.rs")
    eve = await answering(fhir, await somebody(fhir, "clinic-admin"))
    await eve.opens(str(ada.page.request.url))
    assert eve.page.status_code == 400
    assert "somebody else's" in eve.text
    await eve.http.aclose()
    page = ada.page
    await ada.presses("agree")
    ada.page = page
    await ada.presses("agree")
    assert ada.page.status_code == 400
    await ada.opens(f"{asking.oauth}/continue?request=nonsense")
    assert ada.page.status_code == 400


async def test_a_form_of_another_site_agrees_to_nothing(fhir: Client, ada: Answering) -> None:
    asking = await app(fhir)
    await asked(asking, ada, "user/Patient.rs")
    page = ada.page
    await ada.presses("agree", ("proof", "guessed"))
    assert ada.page.status_code == 403
    ada.page = page
    ada.http.headers["origin"] = "https://evil.example"
    await ada.presses("agree")
    assert ada.page.status_code == 403
    ada.http.headers.pop("origin")
    ada.page = page
    assert query((await ada.presses("agree")).arrived)["code"]


async def test_a_button_that_there_is_not_does_nothing(fhir: Client, ada: Answering) -> None:
    await asked(await app(fhir), ada, "user/Patient.rs")
    await ada.presses("agree", ("do", "everything"))
    assert ada.page.status_code == 400


async def test_somebody_without_a_role_here_is_sent_back(fhir: Client) -> None:
    stranger = await answering(fhir, await somebody(fhir, None))
    await asked(await app(fhir), stranger)
    assert query(stranger.arrived)["error"] == "access_denied"
    await stranger.http.aclose()


async def test_the_pages_may_not_be_framed_kept_or_run_scripts_of_others(fhir: Client, ada: Answering) -> None:
    await asked(await app(fhir), ada, "user/Patient.rs")
    headers = ada.page.headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert "<script" not in ada.page.text


async def test_what_an_app_is_called_is_shown_as_text(fhir: Client, ada: Answering) -> None:
    db = fhir.concord.db
    asking = await app(fhir)
    sql = "update oauth_client set name = %s where tenant_id = %s and client_id = %s"
    await db.fetch(fhir.tenant_id, sql, ("<script>alert(1)</script>", fhir.tenant_id, asking.client_id))
    await asked(asking, ada, "user/Patient.rs")
    assert "<script" not in ada.page.text
    assert "&lt;script&gt;" in ada.page.text


async def test_a_role_that_ends_meanwhile_gives_nothing_more(fhir: Client) -> None:
    person = await somebody(fhir, "clinic-admin")
    ada = await answering(fhir, person)
    await asked(await app(fhir), ada, "user/Patient.rs")
    async with fhir.concord.db.transaction(fhir.tenant_id) as tx:
        people.leave(tx, person.id, fhir.clock())
    await ada.presses("agree")
    assert query(ada.arrived)["error"] == "access_denied"
    await ada.http.aclose()
