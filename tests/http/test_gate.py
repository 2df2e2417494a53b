"""Who comes too often is told to wait; what every answer carries; whose word is taken about an address."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.http.peers import Peers, household
from fhir_server.http.rates import Rate
from tests.fhir import Client
from tests.http.trouble import served, told
from tests.people import member

# One request in a hundred seconds: however slow the machine, the second one is too many.
RARELY = 0.01
FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_a_rate_lets_a_burst_in_and_then_its_average() -> None:
    rate = Rate(2.0, 5.0)
    assert [rate.take("a", 100.0) for _ in range(10)] == [0.0] * 10
    assert rate.take("a", 100.0) == pytest.approx(0.5)
    assert rate.take("b", 100.0) == 0.0
    assert rate.take("a", 100.5) == 0.0
    assert rate.take("a", 100.5) > 0
    assert [rate.take("a", 1000.0) for _ in range(10)] == [0.0] * 10


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_a_rate_never_lets_in_more_than_its_burst_and_its_average(steps: list[float]) -> None:
    rate, now, let_in = Rate(3.0, 4.0), 0.0, 0
    for step in sorted(steps):
        now = step
        let_in += rate.take("a", now) == 0.0
    assert let_in <= 3.0 * 4.0 + 3.0 * now + 1


def test_whoever_waits_as_long_as_told_is_let_in() -> None:
    rate = Rate(3.0, 1.0)
    now = 50.0
    while not (wait := rate.take("a", now)):
        pass
    assert rate.take("a", now + wait) == 0.0


def test_no_rate_lets_everything_in() -> None:
    assert {Rate(0.0, 10.0).take("a", 1.0) for _ in range(1000)} == {0.0}


def test_a_flood_of_addresses_takes_no_more_memory_than_its_bound() -> None:
    rate = Rate(1.0, 2.0)
    for number in range(120_000):
        rate.take(number, 100.0)
    assert len(rate._spent) <= 50_001
    assert rate.wait(119_999, 100.0) == 0.0
    assert rate.take(119_999, 100.0) == 0.0
    assert rate.take(119_999, 100.0) > 0.0


def scope(peer: str, *forwarded: str) -> dict[str, Any]:
    return {"client": (peer, 1), "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", ("203.0.113.7",), "203.0.113.7"),
        ("10.0.0.1", ("198.51.100.9, 203.0.113.7",), "203.0.113.7"),
        ("10.0.0.1", ("198.51.100.9", "203.0.113.7, 10.0.0.2"), "203.0.113.7"),
        ("10.0.0.1", ("10.0.0.3",), "10.0.0.3"),
        ("10.0.0.1", ("unknown",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.7, evil",), "10.0.0.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("192.0.2.1", ("203.0.113.7",), "192.0.2.1"),
        ("2001:db8::1", ("203.0.113.7",), "203.0.113.7"),
    ],
)
def test_only_a_trusted_proxy_is_believed_about_others(peer: str, forwarded: tuple[str, ...], address: str) -> None:
    assert Peers(("10.0.0.0/8", "2001:db8::/32")).address(scope(peer, *forwarded)) == address


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert Peers().address(scope("127.0.0.1", "203.0.113.7")) == "127.0.0.1"
    assert Peers().address({"client": None, "headers": []}) == ""


def test_of_ipv6_a_household_counts_as_one() -> None:
    assert household("2001:db8:1:2:3:4:5:6") == household("2001:db8:1:2::1") != household("2001:db8:1:3::1")
    assert household("203.0.113.7") == "203.0.113.7"
    assert household("x:y") == "x:y"


async def test_an_address_that_sends_too_much_gets_429_until_it_has_waited(server_dsn: str) -> None:
    async with served(server_dsn, rate_per_address=RARELY) as client:
        assert (await client.get("/Patient")).status_code == 200
        answer = await client.get("/Patient")
        assert told(answer, 429)["code"] == "throttled"
        assert int(answer.headers["retry-after"]) >= 1
        client.clock.move(timedelta(seconds=int(answer.headers["retry-after"])))
        assert (await client.get("/Patient")).status_code == 200


async def test_the_address_that_a_client_writes_itself_changes_nothing(server_dsn: str) -> None:
    async with served(server_dsn, rate_per_address=RARELY) as client:
        await client.get("/Patient", headers={"x-forwarded-for": "203.0.113.1"})
        assert (await client.get("/Patient", headers={"x-forwarded-for": "203.0.113.99"})).status_code == 429


async def test_behind_a_trusted_proxy_each_address_counts_for_itself(server_dsn: str) -> None:
    async with served(server_dsn, rate_per_address=RARELY, trusted_proxies="127.0.0.0/8") as client:
        await client.get("/Patient", headers={"x-forwarded-for": "203.0.113.1"})
        assert (await client.get("/Patient", headers={"x-forwarded-for": "203.0.113.1"})).status_code == 429
        assert (await client.get("/Patient", headers={"x-forwarded-for": "203.0.113.2"})).status_code == 200


async def test_a_client_that_sends_too_much_gets_429_on_every_door_and_others_do_not(server_dsn: str) -> None:
    async with served(server_dsn, rate_per_client=RARELY) as client:
        busy, other = await client.token("system/*.rs"), await client.token("system/*.rs", client="another")
        assert (await client.get("/Patient", token=busy)).status_code == 200
        assert (await client.get("/Patient", token=busy)).status_code == 429
        address = client.base.replace("/fhir", "/api/messages")
        assert (await client.http.get(address, headers={"authorization": f"Bearer {busy}"})).status_code == 429
        assert (await client.get("/Binary/x", token=busy)).status_code == 429
        assert (await client.get("/Patient", token=other)).status_code == 200


async def test_a_user_that_sends_too_much_gets_429_and_others_of_the_same_app_do_not(server_dsn: str) -> None:
    async with served(server_dsn, rate_per_user=RARELY) as client:
        one, two = await member(client, "clinic-admin"), await member(client, "clinic-admin")
        busy, calm = [await client.token("user/*.rs", subject=person.sub) for person in (one, two)]
        assert [(await client.get("/Patient", token=busy)).status_code for _ in range(2)] == [200, 429]
        assert (await client.get("/Patient", token=calm)).status_code == 200


async def test_bad_tokens_are_counted_and_then_turned_away_before_anything_is_looked_at(server_dsn: str) -> None:
    async with served(server_dsn, refusals_per_minute=5) as client:
        good = await client.token("system/*.rs")
        assert [(await client.get("/Patient", token="bad")).status_code for _ in range(5)] == [401] * 5
        assert told(await client.get("/Patient", token="bad"), 429)["code"] == "throttled"
        assert (await client.get("/Patient", token=good)).status_code == 429
        client.clock.move(timedelta(seconds=61))
        assert (await client.get("/Patient", token=good)).status_code == 200


async def test_refused_token_requests_end_in_oauths_words_and_fill_no_audit(server_dsn: str) -> None:
    async with served(server_dsn, refusals_per_minute=5) as client:
        address = client.base.replace("/fhir", "/oauth/token")
        form = "grant_type=client_credentials&client_assertion=x"
        answers = [await client.http.post(address, content=form, headers=FORM) for _ in range(20)]
        assert [a.status_code for a in answers[5:]] == [429] * 15
        assert {a.status_code for a in answers[:5]} <= {400, 401}
        assert answers[-1].json()["error"] == "temporarily_unavailable"
        assert int(answers[-1].headers["retry-after"]) >= 1
        sql = "select count(*) from audit where tenant_id = %s and action = 'token'"
        [(rows,)] = await client.concord.db.fetch(client.tenant_id, sql, (client.tenant_id,))
        assert rows <= 5


async def test_what_was_turned_away_is_counted_for_the_monitor(server_dsn: str) -> None:
    async with served(server_dsn, rate_per_client=RARELY) as client:
        for _ in range(3):
            await client.get("/Patient")
        figures = (await client.http.get(f"{client.concord.base_url}/metrics")).text
        assert 'concord_turned_away_total{of="client"} 2.0' in figures


PLACES = ["/Patient", "/metadata", "/Binary/x", "/nothing/at/all", "/.well-known/smart-configuration"]
OTHERS = ["/healthz", "/readyz", "/metrics", "/login", "/openapi.json", "/docs", "/nothing", "/demo/oauth/jwks", "/"]


async def test_every_answer_of_every_door_carries_the_security_headers(fhir: Client) -> None:
    answers = [await fhir.get(place) for place in PLACES]
    answers += [await fhir.get("/Patient", token=None), await fhir.request("OPTIONS", "/Patient")]
    answers += [await fhir.http.get(fhir.concord.base_url + place) for place in OTHERS]
    for answer in answers:
        guarded(answer)
        assert "strict-transport-security" not in answer.headers
        assert "server" not in answer.headers


async def test_where_the_address_is_https_browsers_are_told_to_stay_there(server_dsn: str) -> None:
    async with served(server_dsn, base_url="https://clinic.example") as client:
        for place in ("/healthz", f"/{client.tenant}/fhir/metadata"):
            answer = await client.http.get(f"http://127.0.0.1:{client.concord.settings.port}{place}")
            assert answer.headers["strict-transport-security"] == "max-age=31536000"


def guarded(answer: httpx.Response) -> None:
    """Hold an answer to what browsers need to be told."""
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "cache-control" in headers
