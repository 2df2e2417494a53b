"""What is sent of a delivery: the message as it came, but for what the definition writes anew, or what it made."""

from __future__ import annotations

from fhir_server.engine.bundling import collection, transaction
from fhir_server.engine.channel import Channel
from fhir_server.engine.parcel import Parcel, Unfit
from fhir_server.operations.destinations import AnyDestination, FhirOut, MllpOut
from fhir_server.store import secrets, versions
from fhir_server.store.database import Tx
from fhir_server.store.deliveries import Claimed
from fhir_server.store.lifted import whole
from fhir_server.store.objects import Objects
from mappings.header import header
from mappings.readdress import readdressed


async def packed(
    tx: Tx, objects: Objects, claimed: Claimed, channel: Channel, destination: AnyDestination, base: str
) -> Parcel:
    """Return what is sent. Raises Unfit where that cannot be done as things are, errors.FhirError."""
    wanted = destination.secrets
    found = await secrets.values(tx, wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise Unfit(f"there is no secret {missing[0]!r}: concord secret set {missing[0]}")
    resources = claimed.sends == "resources"
    if resources:
        content = await _resources(tx, claimed, destination, base)
    else:
        content = await _message(objects, claimed, destination)
    return Parcel(
        tenant_id=claimed.tenant_id,
        tenant=channel.tenant.name,
        channel=claimed.channel,
        destination=destination,
        sends=claimed.sends,
        key=f"{channel.tenant.name}-{claimed.id}",
        name=f"{claimed.message_id}-{claimed.id}",
        content=content,
        control_id="" if resources else header(content).control_id,
        secrets=found,
    )


async def _message(objects: Objects, claimed: Claimed, destination: AnyDestination) -> bytes:
    content = claimed.payload if claimed.sends == "ack" else claimed.raw
    if content is None:
        raise Unfit("its message is no longer kept")
    if claimed.lifted and claimed.sends == "message":
        pieces = whole(objects, claimed.tenant_id, content, claimed.lifted, claimed.content_hash)
        content = b"".join([piece async for piece in pieces])
    given = destination.msh if isinstance(destination, MllpOut) else {}
    return readdressed(content, {int(name.removeprefix("MSH-")): value for name, value in given.items()})


async def _resources(tx: Tx, claimed: Claimed, destination: AnyDestination, base: str) -> bytes:
    wanted = claimed.refs or ()
    found = await versions.bodies(tx, wanted)
    bodies = [body for body in found if body is not None]
    if len(found) < len(wanted) or not bodies:
        raise Unfit("a resource that it sends is no longer kept")
    if isinstance(destination, FhirOut):
        return transaction(bodies, base, destination.how)
    return collection(bodies, base)
