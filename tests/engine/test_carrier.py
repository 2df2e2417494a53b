"""Notices reach people by a real mail server and a real webhook, or are tried again until they do."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog

from fhir_server.app import opened
from fhir_server.app.concord import Concord
from fhir_server.app.work import jobs
from fhir_server.context import Tenant
from fhir_server.engine.jobs import Jobs
from fhir_server.operations import alerts as operations
from fhir_server.operations.channels import Editor
from fhir_server.settings import Settings
from fhir_server.store import tenants
from tests.fhir import MovedClock
from tests.hooks import Hooks, hooked
from tests.mailbox import Mailbox, receiving

Events = list[structlog.typing.EventDict]


class Office:
    """A clinic whose recipients are told, and the worker that tells them."""

    def __init__(self, concord: Concord, clock: MovedClock, tenant: Tenant) -> None:
        self.concord, self.clock, self.tenant = concord, clock, tenant
        self.worker: Jobs = jobs(concord)

    def who(self) -> Editor:
        """Return who changes things."""
        return Editor(self.tenant.id, "ada", "tests", self.clock())

    async def add(self, kind: Any, address: str) -> str | None:
        """Add a recipient and return the secret of a webhook."""
        return (await operations.add_target(self.concord.db, self.who(), kind, address))[1]

    async def test(self) -> None:
        """Send a test to all recipients, as far as that succeeds at once."""
        await operations.test(self.concord.db, self.who(), self.tenant.name)
        await self.worker.drain()

    async def later(self, **passes: float) -> None:
        """Let time pass and try again what failed."""
        self.clock.move(timedelta(**passes))
        await self.worker.drain()

    async def open_jobs(self) -> list[tuple[int, str]]:
        """Return the tries of the jobs that are not done, and what the last one said."""
        sql = (
            "select attempts, reason->0->>'diagnostics' from job where tenant_id = %s and state = 'queued' order by id"
        )
        return await self.concord.db.fetch(self.tenant.id, sql, (self.tenant.id,))


@asynccontextmanager
async def office(dsn: str, **settings: Any) -> AsyncIterator[Office]:
    """Give a clinic of a database of its own."""
    given = Settings.load(env="test", outgoing_allow="127.0.0.1", smtp_security="none", **settings)
    clock = MovedClock()
    async with opened(given, dsn) as plain:
        concord = msgspec.structs.replace(plain, clock=clock)
        yield Office(concord, clock, await tenants.add(concord.db, f"t-{uuid.uuid4().hex[:12]}"))


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    """Give a mail server."""
    async with receiving() as made:
        yield made


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    """Give a webhook."""
    async with hooked() as made:
        yield made


@pytest.fixture
def dsn(postgres: Any, fresh_name: str) -> str:
    """Give a database of the test's own: whatever waits in it is the test's."""
    return str(postgres.server_dsn(fresh_name))


async def test_mail_and_webhook_carry_what_happened(dsn: str, box: Mailbox, hooks: Hooks) -> None:
    async with office(dsn, smtp_host="127.0.0.1", smtp_port=box.port, smtp_from="concord@north.example") as here:
        await here.add("email", "it@example.org")
        secret = await here.add("webhook", hooks.url)
        await here.test()
        assert await here.open_jobs() == []
    (mail,), (got,) = box.mails, hooks.got
    assert box.recipients == [["it@example.org"]]
    assert (mail["from"], mail["subject"]) == (
        "concord@north.example", f"[Concord] {here.tenant.name}: This is a test: alerts reach you"
    )  # fmt: skip
    told = json.loads(got.body)
    assert (told["tenant"], told["kind"], told["what"], told["count"]) == (here.tenant.name, "test", "raised", 1)
    assert secret
    parts = dict(part.split("=") for part in got.headers["x-concord-signature"].split(","))
    signed = hmac.new(secret.encode(), parts["t"].encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert parts["v1"] == signed
    assert secret.encode() not in got.body


async def test_what_a_recipient_does_not_take_is_tried_again_and_keeps_nobody_waiting(
    dsn: str, box: Mailbox, hooks: Hooks
) -> None:
    box.answer, hooks.status = "451 later", 503
    async with office(dsn, smtp_host="127.0.0.1", smtp_port=box.port) as here:
        await here.add("email", "a@example.org")
        await here.add("webhook", hooks.url)
        async with hooked() as second:
            await here.add("webhook", second.url)
            await here.test()
            assert len(second.got) == 1
        tries = await here.open_jobs()
        assert [attempts for attempts, _ in tries] == [1, 1]
        assert "answered 451" in tries[0][1]
        assert "answered 503" in tries[1][1]
        await here.later(seconds=2)
        assert [attempts for attempts, _ in await here.open_jobs()] == [2, 2]
        box.answer, hooks.status = "250 ok", 200
        await here.later(seconds=600)
        assert await here.open_jobs() == []
    assert len(box.mails) == 1
    assert len(hooks.got) == 3
    assert len({got.headers["x-concord-delivery"] for got in hooks.got}) == 1


async def test_what_nobody_takes_for_a_day_is_given_up_with_a_line_in_the_log(
    dsn: str, hooks: Hooks, events: Events
) -> None:
    hooks.status = 500
    async with office(dsn) as here:
        await here.add("webhook", hooks.url)
        await here.add("email", "it@example.org")
        await here.test()
        assert len(await here.open_jobs()) == 2
        await here.later(hours=25)
        assert await here.open_jobs() == []
    given_up = [event["reason"] for event in events if event["event"] == "a notice of an alert was given up"]
    assert sorted(given_up) == ["the webhook answered 500", "there is no mail server: set CONCORD_SMTP_HOST"]


async def test_a_webhook_in_the_private_network_gets_nothing_unless_it_is_allowed(dsn: str, hooks: Hooks) -> None:
    async with office(dsn) as here:
        here.concord = msgspec.structs.replace(
            here.concord, settings=here.concord.settings.evolve(outgoing_allow="elsewhere.example")
        )
        here.worker = jobs(here.concord)
        await here.add("webhook", hooks.url)
        await here.test()
        ((attempts, reason),) = await here.open_jobs()
    assert attempts == 1
    assert "plain http is sent to no host" in reason
    assert hooks.got == []


async def test_a_webhook_that_sends_elsewhere_is_not_followed(dsn: str, hooks: Hooks) -> None:
    async with office(dsn) as here, hooked() as elsewhere:
        hooks.status, hooks.place = 302, elsewhere.url
        await here.add("webhook", hooks.url)
        await here.test()
        assert len(await here.open_jobs()) == 1
        assert elsewhere.got == []


async def test_a_recipient_who_was_taken_away_meanwhile_is_told_nothing(dsn: str, hooks: Hooks) -> None:
    async with office(dsn) as here:
        await here.add("webhook", hooks.url)
        await operations.test(here.concord.db, here.who(), here.tenant.name)
        await operations.remove_target(here.concord.db, here.who(), hooks.url)
        await here.worker.drain()
        assert await here.open_jobs() == []
    assert hooks.got == []


async def test_the_secret_of_a_webhook_is_sealed(dsn: str) -> None:
    async with office(dsn) as here:
        secret = await here.add("webhook", "https://hooks.example.org/")
        rows = await here.concord.db.fetch(here.tenant.id, "select secret, t::text from alert_target t")
    assert secret
    assert all(secret.encode() not in row[0] and secret not in row[1] for row in rows)
