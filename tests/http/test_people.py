"""The clinic's administrator and the clinic's people: invited, given roles, ended, reset; and who may not do so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fhir_server.app.accounts import accounts_of
from fhir_server.context import Role
from fhir_server.smart.sessions import Sessions
from fhir_server.smart.told import Source
from fhir_server.store import people, tenants
from fhir_server.store.people import Person
from tests.fhir import Client
from tests.people import token_of
from tests.signin import Visitor, app_of, session_of, somebody, visitor


class Admin:
    """A person's session at the clinic's API."""

    def __init__(self, client: Client, person: Person, token: str) -> None:
        self.client, self.person = client, person
        self._cookies = {"concord-session": token}
        self._token = token

    async def ask(self, method: str, path: str = "", *, ours: bool = True, **more: Any) -> httpx.Response:
        """Send a request to /{tenant}/api/people, as a page of ours would."""
        url = f"{self.client.concord.base_url}/{self.client.tenant}/api/people{path}"
        headers = more.pop("headers", {})
        cookie = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if ours:
            headers["x-csrf-token"] = await self.proof()
        return await self.client.http.request(method, url, headers={**headers, "cookie": cookie}, **more)

    async def proof(self) -> str:
        """Return what proves that a request comes from a page of this session."""
        concord = self.client.concord
        sessions: Sessions = accounts_of(concord).signin.sessions
        found = await sessions.current(self._cookies, self.client.clock())
        return sessions.proof(found)


async def signed_in(client: Client, role: Role | None = "clinic-admin", **more: Any) -> Admin:
    person = await somebody(client, role, **more)
    return Admin(client, person, await session_of(client, person))


NEW = {"email": "bea@{}.example", "name": "Bea Biller", "role": "biller"}


def new(client: Client, **changes: str) -> dict[str, str]:
    return {**NEW, "email": NEW["email"].format(client.tenant), **changes}


async def test_an_invited_person_comes_in_by_the_link_once(quick: Client, ada: Visitor) -> None:
    admin = await signed_in(quick)
    answer = await admin.ask("POST", json=new(quick))
    assert answer.status_code == 201
    token = parse_qs(urlsplit(answer.json()["link"]).query)["token"][0]
    await ada.get("/invitation", params={"token": token})
    assert "Bea Biller" in ada.page.text
    await ada.send("/invitation", password="three green bottles", repeated="three green bottles")
    await ada.enrol()
    assert "biller" in (await ada.get("/account")).text
    assert (await ada.get("/invitation", params={"token": token})).status_code == 404
    [row] = [row for row in (await admin.ask("GET")).json() if row["role"] == "biller"]
    assert (row["invited"], row["second_factor"]) == (False, True)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "12 characters or more"),
        ("aaaaaaaaaaaaaaaa", "over and over"),
        ("1234567890123456", "over and over"),
        ("Bea Biller 1", "name or address"),
    ],
)
async def test_a_password_that_is_too_easy_is_refused_and_the_link_stays_good(
    quick: Client, ada: Visitor, password: str, reason: str
) -> None:
    admin = await signed_in(quick)
    link = (await admin.ask("POST", json=new(quick))).json()["link"]
    await ada.get(link.removeprefix(ada.url))
    page = await ada.send("/invitation", password=password, repeated=password)
    assert (page.status_code, reason in page.text) == (400, True), page.text
    page = await ada.send("/invitation", password="three green bottles", repeated="three green pots")
    assert "differ" in page.text
    page = await ada.send("/invitation", password="three green bottles", repeated="three green bottles")
    assert page.url.path == "/login/second"


async def test_a_link_is_good_for_its_time_and_until_the_next_one(quick: Client, ada: Visitor) -> None:
    admin = await signed_in(quick)
    made = (await admin.ask("POST", json=new(quick))).json()
    again = (await admin.ask("POST", f"/{made['sub']}/reset")).json()["link"]
    assert (await ada.get(made["link"].removeprefix(ada.url))).status_code == 404
    assert (await ada.get(again.removeprefix(ada.url))).status_code == 200
    quick.clock.move(timedelta(days=8))
    assert (await ada.get(again.removeprefix(ada.url))).status_code == 404
    for odd in ("", "x" * 500, "\0"):
        assert (await ada.get("/invitation", params={"token": odd})).status_code == 404


async def test_a_role_acts_at_once_in_tokens_too_and_ends_so(quick: Client) -> None:
    admin = await signed_in(quick)
    person = await somebody(quick, "physician")
    token = await token_of(quick, person)
    assert (await quick.get("/Patient", token=token)).status_code == 200
    changed = await admin.ask("PUT", f"/{person.sub}", json={"role": "biller", "reference": "Practitioner/9"})
    assert (changed.json()["role"], changed.json()["reference"]) == ("biller", "Practitioner/9")
    assert (await admin.ask("DELETE", f"/{person.sub}")).status_code == 204
    quick.clock.move(timedelta(seconds=2))
    assert (await quick.get("/Patient", token=token)).status_code == 401
    assert (await admin.ask("DELETE", f"/{person.sub}")).status_code == 404


@pytest.mark.parametrize("role", ["physician", "biller", "front-desk", "attorney"])
async def test_only_administrators_administer(quick: Client, role: Role) -> None:
    other = await somebody(quick)
    someone = await signed_in(quick, role)
    for method, path, more in (
        ("GET", "", {}),
        ("POST", "", {"json": new(quick)}),
        ("PUT", f"/{other.sub}", {"json": {"role": "clinic-admin"}}),
        ("DELETE", f"/{other.sub}", {}),
        ("POST", f"/{other.sub}/reset", {}),
    ):
        assert (await someone.ask(method, path, **more)).status_code == 403, (method, path)
    assert await people.membership(quick.concord.db, quick.tenant_id, other.id) == ("physician", None)


async def test_no_app_administers_whatever_its_scopes(quick: Client) -> None:
    admin = await somebody(quick, "clinic-admin")
    url = f"{quick.concord.base_url}/{quick.tenant}/api/people"
    for token in (await quick.token("system/*.cruds user/*.cruds"), await token_of(quick, admin)):
        answer = await quick.http.get(url, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 403


async def test_an_administrator_has_no_say_in_another_clinic(quick: Client) -> None:
    admin = await signed_in(quick)
    there = await tenants.add(quick.concord.db, f"{quick.tenant}-there")
    stranger = await somebody(Client(quick.concord, quick.clock, there, quick.http))
    url = f"{quick.concord.base_url}/{there.name}/api/people"
    assert (await quick.http.get(url, headers={"cookie": f"concord-session={admin._token}"})).status_code == 403
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/reset")):
        answer = await admin.ask(method, f"/{stranger.sub}{path}", json={"role": "biller"})
        assert answer.status_code == 404
    assert stranger.email not in (await admin.ask("GET")).text


async def test_nobody_resets_whom_another_clinic_trusts_too(quick: Client) -> None:
    admin = await signed_in(quick)
    attorney = await somebody(quick, "attorney")
    there = await tenants.add(quick.concord.db, f"{quick.tenant}-there")
    await people.enrol(quick.concord.db, there.id, attorney.id, "attorney", None, quick.clock())
    assert (await admin.ask("POST", f"/{attorney.sub}/reset")).status_code == 403
    root = await somebody(quick, "physician", super_admin=True)
    assert (await admin.ask("POST", f"/{root.sub}/reset", params={"factors": "true"})).status_code == 403


async def test_nobody_changes_their_own_role(quick: Client) -> None:
    admin = await signed_in(quick)
    for method in ("PUT", "DELETE"):
        answer = await admin.ask(method, f"/{admin.person.sub}", json={"role": "physician"})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"role": "king"}, 400),
        ({"role": "super-admin"}, 409),
        ({"email": "nobody"}, 400),
        ({"name": " "}, 400),
        ({"reference": "Basic/1"}, 400),
        ({"reference": "../1"}, 400),
    ],
)
async def test_what_cannot_be_is_refused(quick: Client, changes: dict[str, str], status: int) -> None:
    admin = await signed_in(quick)
    assert (await admin.ask("POST", json=new(quick, **changes))).status_code == status


async def test_somebody_of_another_clinic_is_given_a_role_and_keeps_their_password(quick: Client) -> None:
    admin = await signed_in(quick)
    known = await somebody(quick, None)
    answer = await admin.ask("POST", json=new(quick, email=known.email, role="attorney"))
    assert (answer.status_code, answer.json()) == (201, {"sub": known.sub, "link": None})
    assert (await admin.ask("POST", json=new(quick, email=known.email, role="attorney"))).status_code == 409


async def test_a_session_alone_proves_no_write(quick: Client) -> None:
    admin, eve = await signed_in(quick), await signed_in(quick)
    assert (await admin.ask("POST", json=new(quick), ours=False)).status_code == 403
    forged = {"x-csrf-token": await eve.proof()}
    assert (await admin.ask("POST", json=new(quick), ours=False, headers=forged)).status_code == 403
    for origin in ("https://evil.example", "null"):
        assert (await admin.ask("GET", headers={"origin": origin})).status_code == 403
        assert (await admin.ask("POST", json=new(quick), headers={"origin": origin})).status_code == 403
    assert (await admin.ask("POST", json=new(quick))).status_code == 201


async def test_changes_are_told_with_before_and_after(quick: Client) -> None:
    admin = await signed_in(quick)
    person = await somebody(quick, "physician")
    await admin.ask("PUT", f"/{person.sub}", json={"role": "biller"})
    sql = "select subject, detail from audit where tenant_id = %s and action = 'give-role'"
    [(subject, detail)] = await quick.concord.db.fetch(quick.tenant_id, sql, (quick.tenant_id,))
    assert subject == admin.person.sub
    assert detail == {
        "person": person.sub,
        "before": {"role": "physician", "reference": None},
        "after": {"role": "biller", "reference": None},
    }


async def test_a_reset_with_factors_lets_in_who_has_lost_them(quick: Client, ada: Visitor) -> None:
    admin = await signed_in(quick)
    person = await somebody(quick)
    await ada.sign_in(person)
    await ada.enrol()
    link = (await admin.ask("POST", f"/{person.sub}/reset", params={"factors": "true"})).json()["link"]
    async with visitor(quick) as again:
        await again.get(link.removeprefix(again.url))
        await again.send("/invitation", password="three green bottles", repeated="three green bottles")
        assert app_of(again.page.text)
    assert (await ada.get("/account")).url.path == "/login"


async def test_of_two_who_use_a_link_at_once_one_comes_in(quick: Client, ada: Visitor) -> None:
    admin = await signed_in(quick)
    link = (await admin.ask("POST", json=new(quick))).json()["link"].removeprefix(ada.url)
    async with visitor(quick) as eve:
        await ada.get(link)
        await eve.get(link)
        one, other = "three green bottles", "six blue elephants"
        pages = await asyncio.gather(
            ada.send("/invitation", password=one, repeated=one),
            eve.send("/invitation", password=other, repeated=other),
        )
    assert sorted(page.status_code for page in pages) == [200, 404]
    assert sum(page.url.path == "/login/second" for page in pages) == 1


async def test_a_link_of_somebody_whom_others_invited_is_not_handed_out_again(quick: Client) -> None:
    db, now = quick.concord.db, quick.clock()
    admin = await signed_in(quick)
    there = await tenants.add(db, f"{quick.tenant}-there")
    colleague = await people.add(db, f"c@{quick.tenant}.example", "Cleo Colleague", now)
    await people.enrol(db, there.id, colleague.id, "clinic-admin", None, now)
    root = await people.add(db, f"root@{quick.tenant}.example", "Rita Root", now, super_admin=True)
    for person in (colleague, root):
        theirs = await accounts_of(quick.concord).invite(person, Source(), now)
        answer = await admin.ask("POST", json=new(quick, email=person.email, role="attorney"))
        assert (answer.status_code, answer.json()) == (201, {"sub": person.sub, "link": None})
        assert await accounts_of(quick.concord).invitation(theirs, now)


async def test_a_super_admin_gives_themselves_no_role_in_a_clinic(quick: Client) -> None:
    root = await signed_in(quick, None, super_admin=True)
    answer = await root.ask("POST", json=new(quick, email=root.person.email, role="clinic-admin"))
    assert answer.status_code == 403
    assert await people.memberships(quick.concord.db, root.person.id) == []


async def test_a_reset_of_one_clinic_is_no_way_into_the_next(quick: Client) -> None:
    admin, person = await signed_in(quick), await somebody(quick, "attorney")
    link = (await admin.ask("POST", f"/{person.sub}/reset")).json()["link"]
    token = parse_qs(urlsplit(link).query)["token"][0]
    accounts = accounts_of(quick.concord)
    assert await accounts.invitation(token, quick.clock())
    there = await tenants.add(quick.concord.db, f"{quick.tenant}-there")
    theirs = await signed_in(Client(quick.concord, quick.clock, there, quick.http))
    assert (await theirs.ask("POST", json=new(quick, email=person.email, role="attorney"))).status_code == 201
    assert await accounts.invitation(token, quick.clock()) is None
