"""Sessions: how they end by themselves, by their owner, and by an administrator; the same in every process."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from fhir_server.app.accounts import accounts_of, forget_old
from fhir_server.smart import members
from fhir_server.smart.members import Admin
from fhir_server.store import people
from tests.fhir import Client, running
from tests.signin import PASSWORD, QUICK, Visitor, let_in, session_of, somebody, visitor

MINUTE = timedelta(minutes=1)


async def is_in(ada: Visitor, path: str = "/account") -> bool:
    """Tell whether the visitor is signed in."""
    return (await ada.get(path)).url.path == path


async def test_a_session_that_is_not_used_ends(quick: Client, ada: Visitor) -> None:
    await let_in(ada, await somebody(quick))
    quick.clock.move(14 * MINUTE)
    assert await is_in(ada)
    quick.clock.move(14 * MINUTE)
    assert await is_in(ada)
    quick.clock.move(15 * MINUTE + timedelta(seconds=1))
    assert not await is_in(ada)


async def test_a_session_that_is_used_ends_too(quick: Client, ada: Visitor) -> None:
    await let_in(ada, await somebody(quick))
    lived = timedelta()
    while await is_in(ada):
        quick.clock.move(10 * MINUTE)
        lived += 10 * MINUTE
        assert lived < timedelta(hours=13)
    assert lived >= timedelta(hours=12)


async def test_a_page_that_loads_itself_keeps_no_session_alive(quick: Client, ada: Visitor) -> None:
    await let_in(ada, await somebody(quick, "clinic-admin"))
    assert await is_in(ada, "/console")
    for _ in range(3):
        quick.clock.move(6 * MINUTE)
        await ada.get("/console?shown")
    assert ada.page.url.path == "/login"


async def test_a_half_session_waits_ten_minutes_for_its_second_factor(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.sign_in(person)
    quick.clock.move(11 * MINUTE)
    assert (await ada.enrol()) is not None
    assert ada.page.url.path == "/login"
    assert not await is_in(ada)


async def test_who_signs_out_is_out_also_with_the_old_cookie(quick: Client, ada: Visitor) -> None:
    await let_in(ada, await somebody(quick))
    token = ada.cookie
    await ada.send("/logout")
    assert ada.page.url.path == "/login"
    assert ada.cookie is None
    ada.http.cookies.set("concord-session", token or "")
    assert not await is_in(ada)


async def test_signing_out_everywhere_ends_all_sessions_and_nobody_elses(quick: Client, ada: Visitor) -> None:
    person, other = await somebody(quick), await somebody(quick)
    async with visitor(quick) as phone, visitor(quick) as stranger:
        phone.http.cookies.set("concord-session", await session_of(quick, person))
        stranger.http.cookies.set("concord-session", await session_of(quick, other))
        await let_in(ada, person)
        assert "Sign out there" in ada.page.text
        await ada.send("/account/sessions/end", session="")
        assert [await is_in(one) for one in (ada, phone, stranger)] == [False, False, True]


async def test_one_session_is_ended_from_another_but_not_somebody_elses(quick: Client, ada: Visitor) -> None:
    person, other = await somebody(quick), await somebody(quick)
    async with visitor(quick) as phone, visitor(quick) as stranger:
        phone.http.cookies.set("concord-session", await session_of(quick, person))
        stranger.http.cookies.set("concord-session", await session_of(quick, other))
        await let_in(ada, person)
        theirs = await _hash(quick, other.id)
        await ada.send("/account/sessions/end", session=theirs)
        await ada.send("/account/sessions/end", session="no hash at all")
        assert await is_in(stranger)
        await ada.get("/account")
        await ada.send("/account/sessions/end")
        assert [await is_in(one) for one in (ada, phone)] == [True, False]


async def _hash(quick: Client, person: int) -> str:
    [(found,)] = await quick.concord.db.fetch(None, "select hash from session where person_id = %s", (person,))
    return bytes(found).hex()


async def test_a_disabled_person_is_out_at_once_and_stays_out(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    accounts, admin = accounts_of(quick.concord), Admin("tests", "tests", quick.clock())
    await members.disable(accounts, admin, person)
    assert not await is_in(ada)
    assert (await ada.sign_in(person)).status_code == 401
    await members.enable(accounts, admin, person)
    assert not await is_in(ada)
    assert (await ada.sign_in(person)).url.path == "/login/second"


async def test_a_session_is_one_in_every_process(server_dsn: str, quick: Client, ada: Visitor) -> None:
    await let_in(ada, await somebody(quick))
    async with running(server_dsn, **QUICK) as (second, _), httpx.AsyncClient(base_url=second.base_url) as http:
        cookie = {"cookie": f"concord-session={ada.cookie}"}
        assert (await http.get("/account", headers=cookie)).status_code == 200
        await ada.send("/logout")
        assert (await http.get("/account", headers=cookie)).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 5000, "' or 1=1 --  and so on"])
async def test_what_is_no_token_opens_nothing(quick: Client, ada: Visitor, token: str) -> None:
    answer = await ada.http.get("/account", headers={"cookie": f"concord-session={token}"})
    assert answer.status_code == 303


async def test_the_database_holds_no_token(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    rows = await quick.concord.db.fetch(None, "select s::text from session s where person_id = %s", (person.id,))
    assert len(rows) == 1
    assert str(ada.cookie) not in str(rows)
    assert str(ada.cookie).encode().hex() not in str(rows)


async def test_what_is_over_is_forgotten(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    await forget_old(quick.concord)
    sql = "select count(*) from session where person_id = %s"
    assert await quick.concord.db.fetch(None, sql, (person.id,)) == [(1,)]
    async with quick.concord.db.transaction(None) as tx:
        tx.defer("update session set seen = seen - interval '1 hour' where person_id = %s", (person.id,))
    await forget_old(quick.concord)
    assert await quick.concord.db.fetch(None, sql, (person.id,)) == [(0,)]


async def test_over_https_the_cookie_has_the_prefix_that_no_other_host_can_set(server_dsn: str) -> None:
    async with running(server_dsn, base_url="https://clinic.example", **QUICK) as (concord, _):
        where = f"http://127.0.0.1:{concord.settings.port}"
        async with httpx.AsyncClient(base_url=where) as http:
            page = await http.get("/login")
    [cookie] = page.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-concord-form=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "path=/", "samesite=lax"} == attributes


async def test_the_account_is_changed_only_soon_after_signing_in(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    app = await let_in(ada, person)
    await ada.get("/account/password")
    for _ in range(2):
        quick.clock.move(10 * MINUTE)
        await ada.http.get("/account")
    page = await ada.send("/account/password", password="six blue elephants", repeated="six blue elephants")
    assert page.url.path == "/login"
    assert "again=1" in str(page.url)
    await ada.send("/login", email=person.email, password=PASSWORD)
    await ada.send("/login/second", code=app.at(quick.clock()))
    await ada.get("/account/password")
    page = await ada.send("/account/password", password="six blue elephants", repeated="six blue elephants")
    assert page.url.path == "/account"
    _, stored = await people.with_password(quick.concord.db, person.email)
    assert (await accounts_of(quick.concord).passwords.check(stored, "six blue elephants")).right
