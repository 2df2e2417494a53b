"""Deliveries, wired: which carriers there are, and where they may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from adapters import fhir_signin
from adapters.web import Refused, Web
from fhir_server.app.concord import Concord
from fhir_server.app.guards import web_of
from fhir_server.engine.carry_folder import FolderCarrier
from fhir_server.engine.carry_mllp import MllpCarrier, Resolve
from fhir_server.engine.carry_web import FhirCarrier, HttpCarrier
from fhir_server.engine.channel import Channel
from fhir_server.engine.deliver import Deliverer
from fhir_server.engine.directory import Directory
from fhir_server.engine.parcel import Carrier, Parcel
from fhir_server.engine.signing_in import sign_in
from fhir_server.operations.destinations import AnyDestination, FhirOut, FolderOut, HttpOut, MllpOut

_PLAIN = "messages go in plain text to no host but those that the installation allows"


Carriers = Mapping[type[AnyDestination], Carrier]


def deliverer(concord: Concord, carriers: Carriers | None = None) -> Deliverer:
    """Return what sends the deliveries that wait, by these carriers or the ones that there are."""
    given = concord.settings

    def base(channel: Channel) -> str:
        return concord.base(channel.tenant)

    return Deliverer(
        concord.service,
        Directory(concord.db).named,
        base,
        carriers or _carriers(concord),
        concord.clock,
        random=Random(),
        concurrency=given.delivery_concurrency,
        kept=given.delivery_kept_bytes,
        poll=given.poll_interval,
    )


def _carriers(concord: Concord) -> Carriers:
    """Return the carriers by the kind of destination."""
    web = web_of(concord.settings)

    async def signing_in(parcel: Parcel) -> fhir_signin.SignIn:
        async def secret(name: str) -> str:
            return parcel.secrets[name].decode()

        given = parcel.destination
        asked = given.sign_in if isinstance(given, HttpOut | FhirOut) else None
        return await sign_in(concord.db, parcel.tenant_id, asked, secret)

    return {
        MllpOut: MllpCarrier(_resolver(web)),
        HttpOut: HttpCarrier(web, signing_in, concord.clock),
        FhirOut: FhirCarrier(web, signing_in, concord.clock),
        FolderOut: FolderCarrier(concord.settings.folders),
    }


def _resolver(web: Web) -> Resolve:
    """Return what gives the addresses of a host, as the guard of outgoing requests allows them."""

    async def addresses(host: str, port: int, plain: bool) -> Sequence[str]:
        if plain:
            try:
                web.require(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
            except Refused:
                raise Refused(_PLAIN) from None
        return await web.addresses(host, port)

    return addresses
