"""The pages of people: N24. Sessions, forms and second factors under attack.

https://owasp.org/www-project-application-security-verification-standard/ V2 and V3
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from fhir_server.store import tenants
from tests.fhir import Client, running
from tests.signin import PASSWORD, QUICK, Form, Visitor, app_for, somebody, visitor


@pytest.fixture
async def fhir(server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of a server that hashes quickly and counts no failures of this address."""
    settings = {**QUICK, "lockout_address_free": 1_000_000}
    async with running(server_dsn, **settings) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        tenant = await tenants.add(concord.db, f"t-{concord.settings.port}-{id(http)}")
        yield Client(concord, clock, tenant, http)


@pytest.fixture
async def ada(fhir: Client) -> AsyncIterator[Visitor]:
    """Return a visitor."""
    async with visitor(fhir) as made:
        yield made


async def test_n24_a_form_of_another_site_signs_nobody_in(fhir: Client, ada: Visitor) -> None:
    """Login CSRF: without the page's own proof, or from another origin, nothing is entered."""
    person = await somebody(fhir)
    fields = {"email": person.email, "password": PASSWORD}
    answer = await ada.http.post("/login", data=fields)
    assert answer.status_code == 403
    assert ada.cookie is None
    await ada.get("/login")
    proof = Form(ada.page.text, "/login").fields
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example"):
        answer = await ada.http.post("/login", data=proof | fields, headers={"origin": origin})
        assert answer.status_code == 403, origin
        assert ada.cookie is None
    for body in ({"json": fields}, {"content": b"x", "headers": {"content-type": "text/plain"}}):
        assert (await ada.http.post("/login", **body)).status_code == 415  # type: ignore[arg-type]


async def test_n24_no_page_may_be_framed_or_run_a_strangers_script(fhir: Client, ada: Visitor) -> None:
    for path in ("/login", "/account", "/invitation?token=x", "/login/second", "/console"):
        headers = (await ada.get(path)).headers
        assert headers["x-frame-options"] == "DENY"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:", "data:"} & set(policy.split())


async def test_n24_a_session_is_new_at_every_step_and_a_chosen_one_is_nobodys(fhir: Client, ada: Visitor) -> None:
    person = await somebody(fhir)
    app = await app_for(fhir, person)
    ada.http.cookies.set("concord-session", "fixed-by-an-attacker", domain="127.0.0.1")
    await ada.sign_in(person)
    half = ada.cookie
    assert half != "fixed-by-an-attacker"
    await ada.send("/login/second", code=app.at(fhir.clock()))
    whole = ada.cookie
    assert whole not in (half, None)
    for old in (half, "fixed-by-an-attacker"):
        async with visitor(fhir) as thief:
            thief.http.cookies.set("concord-session", str(old))
            assert (await thief.get("/account")).url.path == "/login"
    cookie = next(c for c in ada.http.cookies.jar if c.name == "concord-session")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert str(cookie.get_nonstandard_attr("SameSite")).lower() in ("lax", "strict")


async def test_n24_nobody_learns_who_has_an_account(fhir: Client, ada: Visitor) -> None:
    person = await somebody(fhir)
    texts = []
    for email, password in ((person.email, "not the password"), ("nobody@example.org", "not the password")):
        async with visitor(fhir) as made:
            await made.get("/login")
            page = await made.send("/login", email=email, password=password)
            form = Form(page.text, "/login").fields
            texts.append((page.status_code, page.text.replace(email, "").replace(form["proof"], "")))
    assert texts[0] == texts[1]


async def test_n24_a_code_works_once(fhir: Client, ada: Visitor) -> None:
    person = await somebody(fhir)
    app = await app_for(fhir, person)
    code = app.at(fhir.clock())
    await ada.sign_in(person)
    await ada.send("/login/second", code=code)
    assert (await ada.get("/account")).url.path == "/account"
    async with visitor(fhir) as thief:
        await thief.sign_in(person)
        assert (await thief.send("/login/second", code=code)).status_code == 401
        assert (await thief.get("/account")).url.path == "/login"


async def test_n24_the_second_factor_is_never_passed_by(fhir: Client, ada: Visitor) -> None:
    person = await somebody(fhir, "clinic-admin")
    await app_for(fhir, person)
    await ada.sign_in(person)
    assert ada.cookie is not None
    assert (await ada.get("/account")).url.path == "/login"
    for path in ("/api/messages", "/api/messages/counts"):
        assert (await ada.http.get(f"/{fhir.tenant}{path}")).status_code == 401
    asked = {"response_type": "code", "client_id": "x", "redirect_uri": "https://app.example/", "scope": "user/*.rs"}
    answer = await ada.http.get(f"/{fhir.tenant}/oauth/authorize", params=asked)
    assert "code=" not in answer.headers.get("location", "")
    for method in ("GET", "POST"):
        answer = await ada.http.request(method, f"/{fhir.tenant}/fhir/Patient")
        assert answer.status_code == 401, "a session is no token for the records"


async def test_n24_after_signing_in_nobody_is_sent_to_another_site(fhir: Client) -> None:
    for target in (
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/%5cevil.example",
        "javascript:x",
        "\t//e",
    ):
        person = await somebody(fhir)
        app = await app_for(fhir, person)
        async with visitor(fhir) as made:
            await made.sign_in(person, to=target)
            await made.send("/login/second", follow=False, code=app.at(fhir.clock()))
            place = made.page.headers.get("location", "/")
            assert place.startswith("/"), (target, place)
            assert not place.startswith(("//", "/\\")), (target, place)
            assert "evil" not in httpx.URL(made.url).join(place).host
