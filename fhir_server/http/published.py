"""What a tenant publishes for everybody, without a token: what its FHIR base can do, and where tokens come from.

http://hl7.org/fhir/R4/http.html#capabilities · https://hl7.org/fhir/smart-app-launch/conformance.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from conformance.capability import capability_statement, normative_part
from conformance.r4 import facts
from conformance.search_params import Registry
from conformance.structures import STORABLE
from conformance.terminology_capability import terminology_capabilities
from fhir_server.context import Tenant
from fhir_server.interactions.audit_search import PARAMETERS
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.metadata import metadata_mode, told
from fhir_server.interactions.service import Service
from fhir_server.interactions.table import AUDIT, TABLE, of_every_type, operations
from fhir_server.search.composite_parts import composite
from fhir_server.search.include import references
from fhir_server.search.match import LEAVES
from fhir_server.search.own import Known
from fhir_server.search.words import full_text
from fhir_server.smart.audit_sight import TYPE
from fhir_server.smart.discovery import oauth_uris, openid_configuration, smart_configuration

Page = Callable[[Tenant, str, Request], Awaitable[Response]]


def pages(service: Service, base_url: str, moment: datetime, software: str) -> dict[tuple[str, ...], Page]:
    """Return the pages by their path after the FHIR base; they are true since `moment`, of this version `software`."""
    return {
        ("metadata",): _metadata(service, base_url, moment, software),
        (".well-known", "smart-configuration"): _document(base_url, smart_configuration),
        (".well-known", "openid-configuration"): _document(base_url, openid_configuration),
    }


def _document(base_url: str, made: Callable[[str, Tenant], bytes]) -> Page:
    async def page(tenant: Tenant, base: str, request: Request) -> Response:
        headers = {"content-type": "application/json", "access-control-allow-origin": "*"}
        return Response(200, made(base_url, tenant), headers)

    return page


def _metadata(service: Service, base_url: str, moment: datetime, software: str) -> Page:
    """Return the page that tells what a tenant's base can do; it is made anew only when its parameters change."""
    kept: dict[str, tuple[Known, bytes]] = {}

    def made(tenant: Tenant, base: str, known: Known) -> bytes:
        registry = known.watched({})
        return capability_statement(
            base=base,
            oauth=oauth_uris(base_url, tenant),
            software=software,
            published=moment,
            types=STORABLE,
            interactions=sorted({row.code for row in TABLE} | {"batch"}),
            parameters={name: _offered(known, registry, name) for name in STORABLE} | {TYPE: _of_audit(registry)},
            compartments=facts.compartments(),
            references={
                name: [(p.code, p.targets) for p in references(registry, name)] for name in STORABLE if name != TYPE
            },
            of_every_type=of_every_type(service),
            operations=operations,
            read_only={TYPE: sorted({row.code for row in AUDIT})},
        )

    async def page(tenant: Tenant, base: str, request: Request) -> Response:
        mode = metadata_mode(request)
        if mode == "terminology":
            statement = terminology_capabilities(base=base, software=software, published=moment)
            return told(request, "TerminologyCapabilities", statement)
        known = await service.parameters.look(tenant.id)
        if base not in kept or kept[base][0] is not known:
            kept[base] = known, made(tenant, base, known)
        statement = kept[base][1]
        return told(request, "CapabilityStatement", normative_part(statement) if mode == "normative" else statement)

    return page


def _of_audit(registry: Registry) -> list[tuple[str, str, str]]:
    """Return the parameters by which AuditEvents are searched."""
    params = registry.for_type(TYPE)
    return sorted(
        (code, {"_id": "token", "_lastUpdated": "date"}.get(code) or params[code].kind, "") for code in PARAMETERS
    )


def _offered(known: Known, registry: Registry, resource_type: str) -> list[tuple[str, str, str]]:
    """Return code, type and, of a tenant's own, definition of the parameters of a type that can be searched."""
    params = registry.for_type(resource_type)
    found = [p for p in params.values() if p.kind in LEAVES or composite(registry.specified(resource_type), p)]
    own = [(p.code, p.kind, p.url if (p.base, p.code) in known.owners else "") for p in found]
    return sorted([*own, *((code, "string", "") for code in full_text(resource_type))])
