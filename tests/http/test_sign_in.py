"""Signing in with address, password and second factor; and what somebody who is not the person may not do."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from fhir_server.app.accounts import accounts_of
from fhir_server.smart import members
from fhir_server.smart.members import Admin
from fhir_server.smart.signin import WRONG, WRONG_CODE, Refused
from fhir_server.smart.told import Source
from fhir_server.store import people
from fhir_server.store.wire import Wire
from tests.fhir import Client, running
from tests.signin import PASSWORD, QUICK, Form, Visitor, app_for, let_in, session_of, shown, somebody, visitor


async def test_who_signs_in_first_sets_up_a_second_factor_and_is_then_in(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    page = await ada.sign_in(person)
    assert page.url.path == "/login/second"
    assert (await ada.get("/account")).url.path == "/login"
    await ada.sign_in(person)
    half = ada.cookie
    await ada.enrol()
    assert len(set(ada.codes())) == 10
    assert ada.cookie not in (None, half)
    assert person.name in (await ada.get("/account")).text


async def test_who_has_an_app_is_asked_for_its_code_and_goes_where_they_wanted(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    app = await app_for(quick, person)
    await ada.sign_in(person, to="/account/password?x=1")
    page = await ada.send("/login/second", code=app.at(quick.clock()))
    assert (page.status_code, str(page.url)) == (200, f"{ada.url}/account/password?x=1")


async def test_the_address_is_taken_in_any_case(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.get("/login")
    page = await ada.send("/login", email=f" {person.email.upper()} ", password=PASSWORD)
    assert page.url.path == "/login/second"


@pytest.mark.parametrize("path", ["/account", "/account/password", "/account/factor", "/console"])
async def test_a_half_session_opens_no_page_and_no_api(quick: Client, ada: Visitor, path: str) -> None:
    person = await somebody(quick, "clinic-admin")
    await app_for(quick, person)
    await ada.sign_in(person)
    page = await ada.http.get(path)
    assert (page.status_code, page.headers["location"].partition("?")[0]) == (303, "/login")
    assert (await ada.http.get(f"/{quick.tenant}/api/messages/counts")).status_code == 401
    assert (await ada.http.get(f"/{quick.tenant}/api/people")).status_code == 401


async def test_a_half_session_cannot_add_a_factor_where_there_is_one(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.sign_in(person)
    enrolling = ada.page
    await app_for(quick, person)
    ada.page = enrolling
    await ada.enrol()
    assert ada.page.status_code == 401
    assert (await ada.get("/account")).url.path == "/login"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_no_address_of_another_host_is_gone_to(quick: Client, ada: Visitor, target: str) -> None:
    person = await somebody(quick)
    app = await app_for(quick, person)
    await ada.sign_in(person, to=target)
    assert "evil" not in ada.page.text
    page = await ada.send("/login/second", code=app.at(quick.clock()))
    assert str(page.url) == f"{ada.url}/account"


async def test_an_app_is_gone_on_to_by_a_page_of_ours(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    app = await app_for(quick, person)
    await ada.sign_in(person, to=f"/{quick.tenant}/oauth/authorize?a=1&b=2")
    page = await ada.send("/login/second", follow=False, code=app.at(quick.clock()))
    assert page.status_code == 200
    assert f'content="0;url=/{quick.tenant}/oauth/authorize?a=1&amp;b=2"' in page.text


async def test_unknown_addresses_and_disabled_people_get_the_answer_of_a_wrong_password(
    quick: Client, ada: Visitor
) -> None:
    known, gone = await somebody(quick), await somebody(quick)
    await people.disable(quick.concord.db, gone.id, quick.clock())
    answers = []
    for email, password in ((known.email, "not the right one"), (gone.email, PASSWORD), ("no-one@x.example", PASSWORD)):
        await ada.get("/login")
        page = await ada.send("/login", email=email, password=password)
        answers.append((page.status_code, shown(page)))
    assert len(set(answers)) == 1
    assert answers[0][0] == 401
    assert WRONG in answers[0][1]


async def test_a_person_who_chose_no_password_yet_does_not_get_in(quick: Client, ada: Visitor) -> None:
    person = await people.add(quick.concord.db, "new@" + quick.tenant + ".example", "New", quick.clock())
    assert (await ada.sign_in(person, "")).status_code == 401
    assert (await ada.sign_in(person, "None")).status_code == 401


@pytest.mark.parametrize("email", ["", "a\0b@example.org", "x" * 5000, "' or 1=1 --", "%@example.org"])
async def test_odd_addresses_are_wrong_and_nothing_worse(quick: Client, ada: Visitor, email: str) -> None:
    await ada.get("/login")
    assert (await ada.send("/login", email=email, password=PASSWORD)).status_code == 401


async def test_failures_make_the_next_try_wait_and_the_right_password_too(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    statuses = [(await ada.sign_in(person, "wrong")).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    assert int(ada.page.headers["retry-after"]) >= 1
    assert (await ada.sign_in(person)).status_code == 429
    quick.clock.move(timedelta(seconds=3))
    assert (await ada.sign_in(person)).url.path == "/login/second"


async def test_the_wait_doubles_and_success_forgives(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    for _ in range(5):
        await ada.sign_in(person, "wrong")
    waits = []
    for _ in range(3):
        page = await ada.sign_in(person, "wrong")
        waits.append(int(page.headers["retry-after"]))
        quick.clock.move(timedelta(seconds=waits[-1]))
        assert (await ada.sign_in(person, "wrong")).status_code == 401
    assert waits == sorted(set(waits))
    quick.clock.move(timedelta(seconds=1000))
    assert (await ada.sign_in(person)).url.path == "/login/second"
    assert (await ada.sign_in(person, "wrong")).status_code == 401


async def test_guesses_sent_all_at_once_are_counted_each(quick: Client) -> None:
    person = await somebody(quick)

    async def guess() -> int:
        async with visitor(quick) as one:
            return (await one.sign_in(person, "wrong")).status_code

    statuses = await asyncio.gather(*(guess() for _ in range(20)))
    assert statuses.count(401) == 5
    assert statuses.count(429) == 15


async def test_codes_are_not_guessed_either(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    app = await app_for(quick, person)
    await ada.sign_in(person)
    for _ in range(5):
        page = await ada.send("/login/second", code="000000")
        assert (page.status_code, WRONG_CODE in page.text) == (401, True)
    page = await ada.send("/login/second", code=app.at(quick.clock()))
    assert "too many failures" in page.text
    await ada.sign_in(person)
    assert "too many failures" in (await ada.send("/login/second", code=app.at(quick.clock()))).text


async def test_a_code_works_once_also_in_two_browsers_at_once(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    app = await app_for(quick, person)
    async with visitor(quick) as eve:
        await ada.sign_in(person)
        await eve.sign_in(person)
        code = app.at(quick.clock())
        pages = await asyncio.gather(ada.send("/login/second", code=code), eve.send("/login/second", code=code))
        assert sorted(page.status_code for page in pages) == [200, 401]
        loser = eve if pages[1].status_code == 401 else ada
        quick.clock.move(timedelta(seconds=30))
        assert (await loser.send("/login/second", code=code)).status_code == 401
        assert (await loser.send("/login/second", code=app.at(quick.clock()))).status_code == 200


async def test_each_recovery_code_lets_in_once(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.sign_in(person)
    await ada.enrol()
    first, second, *_ = ada.codes()
    for code, status in ((first, 200), (first, 401), (second.upper().replace("-", " "), 200)):
        async with visitor(quick) as again:
            await again.sign_in(person)
            assert (await again.send("/login/second", recovery=code)).status_code == status


async def test_a_recovery_code_of_another_person_is_worth_nothing(quick: Client, ada: Visitor) -> None:
    one, other = await somebody(quick), await somebody(quick)
    await ada.sign_in(one)
    await ada.enrol()
    [code, *_] = ada.codes()
    await app_for(quick, other)
    async with visitor(quick) as eve:
        await eve.sign_in(other)
        assert (await eve.send("/login/second", recovery=code)).status_code == 401


async def test_a_form_from_elsewhere_signs_nobody_in(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    login = {"email": person.email, "password": PASSWORD, "next": "/account"}
    async with visitor(quick) as fresh:
        assert (await fresh.http.post("/login", data=login)).status_code == 403
        assert (await fresh.http.post("/login", data={**login, "proof": "0" * 64})).status_code == 403
    await ada.get("/login")
    proof = Form(ada.page.text, "/login").fields["proof"]
    evil = {"origin": "https://evil.example"}
    assert (await ada.http.post("/login", data={**login, "proof": proof}, headers=evil)).status_code == 403
    assert (
        await ada.http.post("/login", data={**login, "proof": proof}, headers={"origin": "null"})
    ).status_code == 403
    async with visitor(quick) as eve:
        await eve.get("/login")
        theirs = Form(eve.page.text, "/login").fields["proof"]
    assert (await ada.http.post("/login", data={**login, "proof": theirs})).status_code == 403
    assert (await ada.http.post("/login", json={**login, "proof": proof})).status_code == 415
    assert ada.cookie is None


async def test_a_token_known_before_the_sign_in_is_worth_nothing_after_it(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    ada.http.cookies.set("concord-session", "a-token-that-an-attacker-has-chosen-1234567")
    await ada.sign_in(person)
    tokens = [v for _, v in _cookies(ada)]
    assert "a-token-that-an-attacker-has-chosen-1234567" not in tokens[-1:]
    half = tokens[-1]
    await ada.enrol()
    async with visitor(quick) as eve:
        for known in ("a-token-that-an-attacker-has-chosen-1234567", half):
            eve.http.cookies.set("concord-session", known)
            assert (await eve.get("/account")).url.path == "/login"


def _cookies(ada: Visitor) -> list[tuple[str, str]]:
    return [(c.name, c.value or "") for c in ada.http.cookies.jar if c.name == "concord-session"]


async def test_the_cookie_is_kept_from_scripts_and_other_sites(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.get("/login")
    page = await ada.send("/login", follow=False, email=person.email, password=PASSWORD)
    [cookie] = [c for c in page.headers.get_list("set-cookie") if c.startswith("concord-session=")]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)


async def test_every_page_has_a_strict_policy_and_is_kept_by_nobody(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    pages: list[httpx.Response] = [await ada.get("/login"), await ada.sign_in(person, "wrong")]
    await let_in(ada, person)
    pages += [await ada.get(path) for path in ("/account", "/account/password", "/account/factor")]
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] in ("no-referrer", "same-origin")
        assert "style=" not in page.text
        assert "onclick" not in page.text


async def test_sign_ins_and_failures_are_told_in_the_persons_clinic_without_what_was_typed(
    quick: Client, ada: Visitor
) -> None:
    person = await somebody(quick)
    await ada.sign_in(person, "a secret of another site")
    await let_in(ada, person)
    sql = "select action, outcome, subject, detail::text from audit where tenant_id = %s order by id"
    rows = await quick.concord.db.fetch(quick.tenant_id, sql, (quick.tenant_id,))
    assert [(action, outcome) for action, outcome, *_ in rows] == [("sign-in", 401), ("sign-in", 202), ("sign-in", 200)]
    assert {subject for *_, subject, _ in rows} == {person.sub}
    assert "secret" not in str(rows)
    events = await quick.concord.db.fetch(
        None, "select outcome, address from person_event where person_id = %s order by id", (person.id,)
    )
    assert events == [(401, ada.address), (202, ada.address), (200, ada.address)]


async def test_many_accounts_tried_from_one_address_make_that_address_wait(server_dsn: str, quick: Client) -> None:
    async with running(server_dsn, lockout_address_free=4, **QUICK) as (concord, clock):
        client = Client(concord, clock, quick.tenant_as_named(), quick.http)
        people_ = [await somebody(client) for _ in range(6)]
        async with visitor(client) as eve, visitor(client) as elsewhere:
            assert [(await eve.sign_in(one, "wrong")).status_code for one in people_] == [401] * 4 + [429] * 2
            assert (await eve.sign_in(people_[0])).status_code == 429
            assert (await elsewhere.sign_in(people_[0])).url.path == "/login/second"


async def test_addresses_of_one_household_count_as_one(server_dsn: str, quick: Client) -> None:
    async with running(server_dsn, lockout_address_free=4, **QUICK) as (concord, clock):
        client = Client(concord, clock, quick.tenant_as_named(), quick.http)
        async with visitor(client) as eve:
            network = eve.address.rpartition(":")[0]
            statuses = []
            for number in range(6):
                eve.http.headers["x-forwarded-for"] = f"{network}:{number + 1:x}"
                statuses.append((await eve.sign_in(await somebody(client), "wrong")).status_code)
            assert statuses == [401] * 4 + [429] * 2


async def test_a_person_who_failed_is_let_try_at_once_by_who_administers(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    for _ in range(6):
        await ada.sign_in(person, "wrong")
    assert (await ada.sign_in(person)).status_code == 429
    await members.unlock(accounts_of(quick.concord), Admin("tests", "tests", quick.clock()), person)
    assert (await ada.sign_in(person)).url.path == "/login/second"


async def test_the_clinics_api_takes_the_session_of_who_may(quick: Client, ada: Visitor) -> None:
    counts = f"/{quick.tenant}/api/messages/counts"
    for role, status in (("clinic-admin", 200), ("physician", 403), ("attorney", 403), (None, 403)):
        person = await somebody(quick, role)  # type: ignore[arg-type]
        ada.http.cookies.set("concord-session", await session_of(quick, person))
        assert (await ada.http.get(counts)).status_code == status, role
    root = await somebody(quick, None, super_admin=True)
    ada.http.cookies.set("concord-session", await session_of(quick, root))
    assert (await ada.http.get(counts)).status_code == 403
    assert (await ada.http.get(f"/{quick.tenant}/api/people")).status_code == 200


async def test_a_code_is_asked_for_again_where_more_is_at_stake(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    app = await let_in(ada, person)
    signin = accounts_of(quick.concord).signin
    session = await signin.sessions.current({"concord-session": ada.cookie or ""}, quick.clock())
    assert session
    with pytest.raises(Refused):
        await signin.prove(session, app.at(quick.clock()), Source(), quick.clock())
    quick.clock.move(timedelta(seconds=30))
    await signin.prove(session, app.at(quick.clock()), Source(), quick.clock())
    for _ in range(5):
        with pytest.raises(Refused):
            await signin.prove(session, "000000", Source(), quick.clock())
    quick.clock.move(timedelta(seconds=1))
    with pytest.raises(Refused) as told:
        await signin.prove(session, app.at(quick.clock()), Source(), quick.clock())
    assert told.value.wait > timedelta()


async def test_a_failure_asks_the_database_as_often_whether_the_account_exists_or_not(
    quick: Client, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await somebody(quick)
    # The keys of the clinic are learned by then.
    await ada.sign_in(person, "wrong")
    asked: list[int] = []
    send = Wire.send

    async def counted(wire: Wire, batch: Any) -> Any:
        asked.append(len(batch))
        return await send(wire, batch)

    monkeypatch.setattr(Wire, "send", counted)
    trips = []
    for email in (person.email, "nobody-at-all@example.org"):
        asked.clear()
        await ada.send("/login", email=email, password="wrong")
        trips.append(len(asked))
    assert trips[0] == trips[1] > 0
