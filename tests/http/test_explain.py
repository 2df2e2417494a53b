"""Access said: what I may do, who can see a resource and by which rule, why I cannot, and the review of everybody's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from fhir_server.smart.roles import RULES
from fhir_server.store import clients, special
from fhir_server.store.clients import Client as Program
from tests.fhir import Client
from tests.http.clinic import Clinic, clinic
from tests.people import member, token_of


@pytest.fixture
async def here(fhir: Client) -> Clinic:
    """Return a clinic with two patients."""
    return await clinic(fhir)


async def ask(here: Clinic, path: str, token: str) -> httpx.Response:
    """Send a GET to the clinic's API."""
    address = here.fhir.base.removesuffix("/fhir") + "/api" + path
    return await here.fhir.http.get(address, headers={"authorization": f"Bearer {token}"})


def parts(answer: httpx.Response, name: str) -> list[dict[str, str]]:
    """Return the parts of the parameters of a name."""
    found = [one for one in answer.json()["parameter"] if one["name"] == name]
    return [{part["name"]: part["valueString"] for part in one["part"]} for one in found]


def value(answer: httpx.Response, name: str) -> Any:
    """Return the value of the one parameter of a name."""
    (found,) = [one for one in answer.json()["parameter"] if one["name"] == name]
    return next(content for key, content in found.items() if key.startswith("value"))


async def explained(here: Clinic, name: str, token: str) -> httpx.Response:
    """Explain the access to a resource."""
    answer = await here.fhir.get(f"/{here.places.get(name, name)}/$explain-access", token=token)
    assert answer.status_code == 200, answer.text
    return answer


async def test_my_permissions_are_role_scopes_rules_and_interactions(here: Clinic) -> None:
    token = await here.token("physician", "user/Observation.cruds user/Patient.rs")
    found = (await ask(here, "/me/permissions", token)).json()
    assert (found["role"], found["reference"]) == ("physician", here.places["doctor"])
    assert found["interactions"] == {"Observation": "crus", "Patient": "rs"}
    assert {one["rule"] for one in found["rules"]} == {
        "physician.patients", "physician.record", "physician.writes", "physician.guarded", "physician.authored",
    }  # fmt: skip
    assert all(set(one["types"]) <= {"Observation", "Patient"} for one in found["rules"])
    assert found["scopes"] == ["user/Observation.cruds", "user/Patient.rs"]


@pytest.mark.parametrize(
    ("scope", "interactions"),
    [("system/Patient.rs", {"Patient": "rs"}), ("patient/Observation.rs?category=a", {"Observation": "rs"})],
)
async def test_a_programs_permissions_are_its_scopes(here: Clinic, scope: str, interactions: dict[str, str]) -> None:
    token = await here.fhir.token(scope, patient="x")
    found = (await ask(here, "/me/permissions", token)).json()
    assert (found["role"], found["interactions"], found["scopes"]) == (None, interactions, [scope])
    assert (await ask(here, "/me/permissions", "nonsense")).status_code == 401


async def test_a_super_admin_without_a_session_may_nothing(here: Clinic) -> None:
    found = (await ask(here, "/me/permissions", await here.token("super-admin"))).json()
    assert found["interactions"] == {}


async def test_who_sees_a_resource_is_told_by_which_rule(here: Clinic) -> None:
    await here.care()
    answer = await explained(here, "result", await here.token("physician"))
    assert value(answer, "allowed") is True
    assert {one["rule"] for one in parts(answer, "rule")} >= {"physician.record"}
    assert parts(answer, "who") == []


async def test_why_not_is_the_same_whether_there_is_such_a_resource_or_not(here: Clinic) -> None:
    for token in (
        await here.token("physician"),
        await here.attorney(),
        await here.fhir.token("patient/*.rs", patient="x"),
    ):
        hidden, absent = [await explained(here, name, token) for name in ("result", "Observation/none")]
        assert value(hidden, "allowed") is False
        assert hidden.content == absent.content
    narrow = await explained(here, "result", await here.token("clinic-admin", "user/Patient.rs"))
    assert "No scope" in value(narrow, "reason")
    assert (
        narrow.content
        == (await explained(here, "Observation/none", await here.token("clinic-admin", "user/Patient.rs"))).content
    )


async def test_the_admin_is_told_who_can_see_a_resource_and_by_which_rule(here: Clinic, other: Client) -> None:
    db, tenant, now = here.fhir.concord.db, here.fhir.tenant_id, here.fhir.clock()
    await here.care()
    await here.release("result")
    await here.token("physician")
    await here.attorney()
    await here.attorney(case="case2")
    await here.token("front-desk")
    await member(other, "clinic-admin")
    await clients.add(db, tenant, Program("lab", "The laboratory", "system/Observation.rs", {}, now))
    await clients.add(db, tenant, Program("other", "Another", "system/Patient.rs", {}, now))
    one = special.Opened(
        id="s", kind="BTG", person=(await member(here.fhir, "clinic-admin")).id, patient=here.key("patient"),
        patient_id=here.places["patient"].partition("/")[2], reason="an emergency", opened=now,
        expires=now + timedelta(minutes=9),
    )  # fmt: skip
    async with db.transaction(tenant) as tx:
        special.add(tx, one)
    token = await here.token("clinic-admin")
    found = parts(await explained(here, "result", token), "who")
    assert {(who.get("role", ""), who["rule"]) for who in found} == {
        ("clinic-admin", "admin.reads"), ("physician", "physician.record"), ("attorney", "attorney.released"),
        ("", "system scopes"), ("", "break-glass"),
    }  # fmt: skip
    assert len([who for who in found if who["rule"] == "attorney.released"]) == 1
    assert [who["name"] for who in found if who["rule"] == "system scopes"] == ["The laboratory"]
    elsewhere = parts(await explained(here, "result2", token), "who")
    assert {who["rule"] for who in elsewhere} == {"admin.reads", "system scopes"}


async def test_the_review_of_access_lists_members_programs_and_special_access(here: Clinic, other: Client) -> None:
    await here.care()
    await here.token("physician")
    await here.attorney()
    await member(other, "clinic-admin")
    await clients.add(
        here.fhir.concord.db, here.fhir.tenant_id, Program("lab", "The lab", "system/*.rs", {}, here.fhir.clock())
    )
    found = (await ask(here, "/access-review", await here.token("clinic-admin"))).json()
    by_role = {one["role"]: one for one in found["members"]}
    assert set(by_role) == {"physician", "attorney", "clinic-admin"}
    assert (by_role["physician"]["patients"], by_role["attorney"]["cases"]) == (1, 1)
    assert (by_role["attorney"]["patients"], by_role["physician"]["second_factor"]) == (0, False)
    assert [one["name"] for one in found["programs"]] == ["The lab"]
    assert found["rules"]["physician"] == [rule.name for rule in RULES if "physician" in rule.roles]
    assert found["special"] == []


async def test_the_review_is_for_the_admin_alone(here: Clinic) -> None:
    tokens = [await here.token(role) for role in ("physician", "biller", "front-desk", "super-admin")]
    tokens += [await here.attorney(), await here.fhir.token("system/*.rs"), await here.fhir.token("patient/*.cruds")]
    for token in tokens:
        assert (await ask(here, "/access-review", token)).status_code == 403
    person = await member(here.fhir, "clinic-admin")
    assert (await ask(here, "/access-review?days=0", await token_of(here.fhir, person))).status_code == 400
