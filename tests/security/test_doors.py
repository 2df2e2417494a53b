"""The routes beside FHIR's: each is closed without a sign-in or named as open, and none tells of what is hidden.

A new route is found by itself: it has to be closed, or named in tests/security/doors.py with the reason why not.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest

from fhir_server.app import opened
from fhir_server.settings import Settings
from tests.security.doors import OF_PATIENTS, OPEN, QUERY, body_of, filled, routes
from tests.security.principals import principals
from tests.security.roles import members
from tests.security.world import Answer, Principal, Sent, World

JSON = (b"content-type", b"application/json")


class Found(msgspec.Struct):
    """What each route answered to each who asked: (method, path, name) to the answer."""

    paths: list[tuple[str, str]]
    everybody: list[Principal]
    answers: dict[tuple[str, str, str], Answer]


@pytest.fixture(scope="module")
def found(server_dsn: str) -> Found:
    """Ask every route as everybody, once for all tests of this module."""
    with tempfile.TemporaryDirectory(prefix="concord-objects-") as objects:
        return asyncio.run(_asked(server_dsn, Path(objects)))


async def _asked(dsn: str, objects: Path) -> Found:
    given = Settings.load(env="test", object_store=objects.as_uri(), refusals_per_minute=1_000_000)
    async with opened(given, dsn) as concord:
        world = World(concord)
        await world.fill()
        everybody = [*await principals(world), *await members(world)]
        paths = sorted(set(routes(world.front)))
        answers = {}
        for method, path in paths:
            for one in everybody:
                if method == "GET" or one.name not in ("system", "clinic-admin"):
                    body = b"" if method == "GET" else body_of(world.front, method, path)
                    sent = Sent(method, f"/{filled(path, world.here.name)}", QUERY, body, (JSON,))
                    answers[method, path, one.name] = await world.ask(one.token, sent)
        return Found(paths, everybody, answers)


def closed(answer: Answer) -> bool:
    """Tell whether an answer lets nobody in: refused, or sent to sign in."""
    to_sign_in = answer.status in (302, 303, 307) and answer.headers.get("location", "").startswith("/login")
    return to_sign_in or answer.status in (401, 403)


def test_every_route_is_closed_to_who_is_not_signed_in_or_named_as_open(found: Found) -> None:
    for name in ("nobody", "forged"):
        let_in = {
            path: found.answers[method, path, name].status
            for method, path in found.paths
            if path not in OPEN
            and not closed(found.answers[method, path, name])
            # A form that did not come from a page of ours is not even read.
            and not (method == "POST" and found.answers[method, path, name].status == 415)
        }
        assert let_in == {}, name


def test_what_is_named_as_open_is_there(found: Found) -> None:
    assert set(OPEN) <= {path for _, path in found.paths}


def test_no_route_of_a_clinic_takes_the_token_of_another(found: Found) -> None:
    for method, path in found.paths:
        if path.startswith("/{tenant}/") and path not in OPEN:
            assert closed(found.answers[method, path, "elsewhere"]), (method, path)


def test_a_patients_token_is_for_the_records_and_for_no_other_route(found: Found) -> None:
    answers = {
        (method, path): found.answers[method, path, "patient"].status
        for method, path in found.paths
        if path.startswith("/{tenant}/api/") and (method, path) not in OF_PATIENTS
    }
    assert {place: status for place, status in answers.items() if status not in (401, 403, 404)} == {}


def test_no_route_shows_a_word_that_must_stay_unseen(found: Found) -> None:
    sees = {one.name: one.sees for one in found.everybody}
    for (method, path, name), answer in found.answers.items():
        unseen = [row.word for row in answer.words() if not sees[name](row)]
        assert unseen == [], (method, path, name)
        assert answer.status < 500, (method, path, name, answer.body[:300])


def test_no_route_is_without_the_headers_that_every_answer_carries(found: Found) -> None:
    for place, answer in found.answers.items():
        assert answer.headers["x-content-type-options"] == "nosniff", place
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], place
