"""Deliveries are counted by what became of them, and a destination in trouble is an alert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fhir_server.app.alerts import watch_of
from fhir_server.store import alerts, figures
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.receivers import receiving, saying
from tests.engine.sending import House, house_on, mllp
from tests.engine.world import adt


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres) -> AsyncIterator[House]:
    async with house_on(postgres.server_dsn(fresh_name)) as found:
        yield found


async def counted(house: House) -> dict[str, int]:
    """Return the deliveries since ever by what became of them."""
    await house.deliverer.figures.flush()
    found = await figures.ever(house.db, house.tenant.id)
    return {one.what: one.number for one in found if one.what.startswith("delivery:")}


async def standing(house: House) -> list[tuple[str, object]]:
    """Look, and return the alerts that stand."""
    await watch_of(house.concord).look()
    return [(one.kind, one.detail) for one in await alerts.standing(house.db, house.tenant.id)]


async def test_what_became_of_deliveries_is_counted(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port))
        ehr.answer = saying("CE")
        await house.take(adt("1"))
        await house.send()
        ehr.answer = saying("CA")
        await house.later(5)
        ehr.answer = saying("AE", "101")
        await house.take(adt("2"))
        await house.send()
        assert await counted(house) == {"delivery:queued": 1, "delivery:done": 1, "delivery:held": 1}


async def test_a_destination_that_cannot_be_reached_is_an_alert(house: House) -> None:
    async with receiving() as ehr:
        port = ehr.port
        await house.apply(mllp(port, breaker={"failures": 1, "pause": 1}), watch={"destinations": True})
        assert await standing(house) == []
    await house.take(adt("1"))
    await house.send()
    house.clock.move(timedelta(minutes=1))
    assert await standing(house) == [("destination", {"down": ["ehr"], "stopped": []})]


async def test_a_delivery_that_waits_for_a_person_is_an_alert(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = saying("AE", "101")
        await house.apply(mllp(ehr.port, hold="destination"), watch={"destinations": True, "held": 1})
        await house.take(adt("1"))
        await house.send()
        await house.deliverer.figures.flush()
        found = dict(await standing(house))
    assert found["destination"] == {"down": [], "stopped": ["ehr"]}
    assert found["held"] == {"within": 60, "allowed": 0}
