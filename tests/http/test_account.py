"""One's own account: password, second factors, recovery codes; and nobody else's."""

from __future__ import annotations

import asyncio

from fhir_server.store import factors
from tests.apps import actor, app
from tests.fhir import Client, running
from tests.signin import PASSWORD, QUICK, Form, Visitor, app_for, app_of, let_in, session_of, somebody, visitor


async def signed_in(client: Client, ada: Visitor) -> None:
    """Go to the account of a new person who is signed in."""
    person = await somebody(client)
    ada.http.cookies.set("concord-session", await session_of(client, person))
    await ada.get("/account")


async def test_another_password_ends_the_other_sessions_and_is_the_one_from_now_on(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    async with visitor(quick) as phone:
        phone.http.cookies.set("concord-session", await session_of(quick, person))
        await let_in(ada, person)
        await ada.get("/account/password")
        page = await ada.send("/account/password", password="six blue elephants", repeated="six blue elephants")
        assert page.url.path == "/account"
        assert (await phone.get("/account")).url.path == "/login"
        assert (await phone.sign_in(person)).status_code == 401
        assert (await phone.sign_in(person, "six blue elephants")).url.path == "/login/second"


async def test_another_password_ends_what_apps_were_allowed(quick: Client, ada: Visitor) -> None:
    person, asking = await somebody(quick, "physician"), await app(quick)
    given = await asking.granted(actor(quick, person), "user/*.rs offline_access")
    await let_in(ada, person)
    await ada.get("/account/password")
    await ada.send("/account/password", password="six blue elephants", repeated="six blue elephants")
    assert (await asking.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_password_is_the_same_in_every_spelling_of_unicode(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    await ada.get("/account/password")
    await ada.send("/account/password", password="Ångström und mehr", repeated="A\u030angstro\u0308m und mehr")
    assert "differ" in ada.page.text
    await ada.send("/account/password", password="Ångström und mehr", repeated="Ångström und mehr")
    async with visitor(quick) as phone:
        assert (await phone.sign_in(person, "A\u030angstro\u0308m und mehr")).url.path == "/login/second"


async def test_a_second_app_is_added_and_the_first_removed(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    before = ada.cookie
    await ada.get("/account/factor")
    app = app_of(ada.page.text)
    page = await ada.send("/account/factor", code=app.at(quick.clock()))
    assert page.url.path == "/account"
    assert ada.cookie != before
    assert page.text.count("authenticator app") == 2
    first, second = await factors.of_person(quick.concord.db, person.id)
    await ada.send("/account/factor/remove", factor=str(first.id))
    assert [one.id for one in await factors.of_person(quick.concord.db, person.id)] == [second.id]


async def test_a_wrong_code_adds_no_app(quick: Client, ada: Visitor) -> None:
    await signed_in(quick, ada)
    await ada.get("/account/factor")
    page = await ada.send("/account/factor", code="000000")
    assert page.status_code == 400
    assert "wrong" in page.text


async def test_the_last_factor_stays_where_everybody_needs_one(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    page = await ada.send("/account/factor/remove")
    assert page.status_code == 409
    assert len(await factors.of_person(quick.concord.db, person.id)) == 1


async def test_of_two_factors_removed_at_once_one_stays(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    await app_for(quick, person)
    await ada.get("/account")
    proof = Form(ada.page.text, "/account/factor/remove").fields["proof"]
    owned = await factors.of_person(quick.concord.db, person.id)
    answers = await asyncio.gather(
        *(ada.http.post("/account/factor/remove", data={"proof": proof, "factor": one.id}) for one in owned)
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    assert len(await factors.of_person(quick.concord.db, person.id)) == 1


async def test_nobody_removes_a_factor_of_another_person(quick: Client, ada: Visitor) -> None:
    other = await somebody(quick)
    await app_for(quick, other)
    [theirs] = await factors.of_person(quick.concord.db, other.id)
    await let_in(ada, await somebody(quick))
    assert (await ada.send("/account/factor/remove", factor=str(theirs.id))).status_code == 404
    for odd in ("", "x", "-1", "9" * 40):
        await ada.get("/account")
        assert (await ada.send("/account/factor/remove", factor=odd)).status_code == 404
    assert len(await factors.of_person(quick.concord.db, other.id)) == 1


async def test_new_recovery_codes_take_the_place_of_the_old(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.sign_in(person)
    await ada.enrol()
    old = ada.codes()
    await ada.get("/account")
    await ada.send("/account/codes")
    new = ada.codes()
    assert len({*old, *new}) == 20
    async with visitor(quick) as phone:
        await phone.sign_in(person)
        assert (await phone.send("/login/second", recovery=old[0])).status_code == 401
        assert (await phone.send("/login/second", recovery=new[0])).url.path == "/account"
        assert "9 recovery codes" in phone.page.text


async def test_no_form_of_an_account_works_from_elsewhere(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await let_in(ada, person)
    async with visitor(quick) as eve:
        await let_in(eve, await somebody(quick))
        theirs = Form(eve.page.text, "/logout").fields["proof"]
    account = ("password", "factor", "factor/remove", "codes", "sessions/end")
    for path in ("/logout", *(f"/account/{name}" for name in account)):
        for proof in ("", "0" * 64, theirs):
            assert (await ada.http.post(path, data={"proof": proof})).status_code == 403, path
    assert (await ada.get("/account")).url.path == "/account"


async def test_a_second_factor_may_be_left_out_where_the_setting_says_so(server_dsn: str, quick: Client) -> None:
    async with running(server_dsn, second_factor="optional", **QUICK) as (concord, clock):
        client = Client(concord, clock, quick.tenant_as_named(), quick.http)
        person = await somebody(client)
        async with visitor(client) as ada:
            assert (await ada.sign_in(person)).url.path == "/account"
            await app_for(client, person)
            await ada.send("/logout")
            assert (await ada.sign_in(person, PASSWORD)).url.path == "/login/second"


async def test_the_secret_of_an_app_is_not_stored_as_it_is(quick: Client, ada: Visitor) -> None:
    person = await somebody(quick)
    await ada.sign_in(person)
    secret = app_of(ada.page.text).byte_secret()
    [(enrolling,)] = await quick.concord.db.fetch(
        None, "select enrolling from session where person_id = %s", (person.id,)
    )
    await ada.enrol()
    [factor] = await factors.of_person(quick.concord.db, person.id)
    assert factor.secret
    assert secret not in bytes(enrolling) + factor.secret
    assert secret.hex() not in (bytes(enrolling) + factor.secret).hex()


async def test_an_app_of_another_person_put_into_ones_own_row_does_not_open(quick: Client, ada: Visitor) -> None:
    person, other = await somebody(quick), await somebody(quick)
    app = await app_for(quick, other)
    [theirs] = await factors.of_person(quick.concord.db, other.id)
    async with quick.concord.db.transaction(None) as tx:
        factors.add_app(tx, person.id, "Copied", theirs.secret or b"", 0, quick.clock())
    await ada.sign_in(person)
    assert (await ada.send("/login/second", code=app.at(quick.clock()))).status_code == 401
