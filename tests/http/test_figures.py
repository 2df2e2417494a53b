"""GET /metrics tells of every channel, by tenant and channel alone."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from fhir_server.engine.figures import Figures
from fhir_server.http.figures import ChannelFigures
from fhir_server.store import alerts
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import NOW, PEER, adt, receiver, shut, tenant_of
from tests.fhir import Client


def samples(text: str, tenant: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a tenant by name and labels, but for the tenant's."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.labels.get("tenant") == tenant:
                rest = {k: v for k, v in one.labels.items() if k != "tenant"}
                found[one.name, *rest.values()] = one.value
    return found


async def test_the_figures_of_a_channel_are_told_in_prometheus_text(fhir: Client) -> None:
    tenant, db = fhir.tenant_as_named(), fhir.concord.db
    door = receiver(db, tenant, clock=fhir.clock)
    await door.message(adt("1"), PEER)
    await door.message(adt("2"), PEER)
    figures = door.figures
    figures.count(tenant.id, "mllp", "done")
    figures.count(tenant.id, "mllp", "delivery:delivered")
    await figures.flush()
    async with db.transaction(tenant.id) as tx:
        alerts.happened(tx, "mllp", "buried", {}, fhir.clock())
    text = (await fhir.http.get(f"{fhir.concord.base_url}/metrics")).text
    found = samples(text, fhir.tenant)
    assert found["concord_messages_total", "mllp", "received"] == 2
    assert found["concord_messages_total", "mllp", "done"] == 1
    assert found["concord_messages_waiting", "mllp"] == 2
    assert 0 <= found["concord_oldest_waiting_seconds", "mllp"] < 600
    assert found["concord_ack_seconds_count", "mllp"] == found["concord_ack_seconds_bucket", "mllp", "+Inf"] == 2
    assert found["concord_ack_seconds_sum", "mllp"] > 0
    assert found["concord_deliveries_total", "mllp", "delivered"] == 1
    assert found["concord_alerts", "mllp", "buried"] == 1
    assert "concord_mllp_refused_connections_total" in text
    assert "python_info" in text
    assert "Meier" not in text


async def test_monitors_that_ask_at_once_cost_one_look(database: Database) -> None:
    tenant = await tenant_of(database)
    now = [NOW]
    told = ChannelFigures(database, lambda: now[0])
    counted = Figures(database, lambda: NOW)
    counted.count(tenant.id, "lab", "done")
    await counted.flush()
    first = await told.text()
    counted.count(tenant.id, "lab", "done")
    await counted.flush()
    assert await told.text() == first
    now[0] += timedelta(seconds=6)
    assert samples((await told.text()).decode(), tenant.name)["concord_messages_total", "lab", "done"] == 2


async def test_without_the_database_the_figures_say_that_they_are_missing(
    fresh_database: Database, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    shut(postgres, fresh_name)
    assert b"concord_channel_figures_up 0.0" in await ChannelFigures(fresh_database, lambda: NOW).text()
