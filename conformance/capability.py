"""The CapabilityStatement, made from the tables that the router and the search read themselves.

http://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

# By type, the parameters that are references, each with the types that it may lead to.
References = Mapping[str, Sequence[tuple[str, Sequence[str]]]]
# Code, type, and canonical URL or "".
Parameter = tuple[str, str, str]
_SECURITY_SERVICE = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_COMPARTMENT = "http://hl7.org/fhir/CompartmentDefinition/"
_TYPE_LEVEL = (
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
)
# http://hl7.org/fhir/R4/ballot-intro.html: the resource types of R4 whose content no longer changes.
_NORMATIVE = frozenset(
    (
        "Binary",
        "Bundle",
        "CapabilityStatement",
        "CodeSystem",
        "Observation",
        "OperationDefinition",
        "OperationOutcome",
        "Parameters",
        "Patient",
        "StructureDefinition",
        "ValueSet",
    )
)
_SYSTEM_LEVEL = ("transaction", "batch", "search-system", "history-system")


def _security(oauth: Mapping[str, str]) -> dict[str, Any]:
    """Return where tokens come from, also in the extension that was there before the well-known document."""
    return {
        "cors": True,
        "service": [{"coding": [{"system": _SECURITY_SERVICE, "code": "SMART-on-FHIR"}]}],
        "description": "A bearer token with SMART scopes is required.",
        "extension": [
            {"url": _OAUTH_URIS, "extension": [{"url": name, "valueUri": uri} for name, uri in oauth.items()]}
        ],
    }


def capability_statement(
    *,
    base: str,
    oauth: Mapping[str, str],
    software: str,
    published: datetime,
    types: Iterable[str],
    interactions: Sequence[str],
    parameters: Mapping[str, Sequence[Parameter]],
    references: References,
    compartments: Iterable[str],
    of_every_type: Mapping[str, Any],
    operations: Callable[[str], Sequence[Mapping[str, str]]],
    read_only: Mapping[str, Sequence[str]] = {},
) -> bytes:
    """Return the statement of a server at `base`, whose authorization server has the addresses `oauth`, as JSON.

    `interactions` are FHIR's codes; `parameters` gives (code, type, definition or "") of the search parameters;
    `references` gives (code, targets) of those that can be included;
    `of_every_type` gives the members that are the same for all: which interactions take criteria;
    `operations` gives the operations of a type, or those of the system for "";
    `read_only` gives the interactions of types that nobody writes.
    """
    codes = [{"code": code} for code in _TYPE_LEVEL if code in interactions]
    statement: dict[str, Any] = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": published.isoformat(),
        "kind": "instance",
        "software": {"name": "Concord", "version": software},
        "implementation": {"description": "Concord FHIR R4 server", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json", "application/fhir+xml", "xml", "application/fhir+ndjson", "ndjson"],
        "patchFormat": [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/fhir+json",
            "application/fhir+xml",
        ],
        "rest": [
            {
                "mode": "server",
                "security": _security(oauth),
                "resource": [
                    _made(name, read_only[name], parameters.get(name, ()))
                    if name in read_only
                    else _resource(
                        name, codes, parameters.get(name, ()), {**of_every_type, "operation": operations(name)}
                    )
                    | _includes(name, references)
                    for name in types
                ],
                "compartment": [f"{_COMPARTMENT}{name[0].lower()}{name[1:]}" for name in compartments],
                "interaction": [{"code": code} for code in _SYSTEM_LEVEL if code in interactions],
                "searchParam": _search_params(_of_all(parameters, read_only)),
                "operation": operations(""),
            }
        ],
    }
    return msgspec.json.encode(statement)


def normative_part(statement: bytes) -> bytes:
    """Return the statement with the types that are normative alone: /metadata?mode=normative."""
    told = msgspec.json.decode(statement)
    for rest in told["rest"]:
        rest["resource"] = [one for one in rest["resource"] if one["type"] in _NORMATIVE]
        rest.pop("compartment", None)
    return msgspec.json.encode(told)


def _includes(name: str, references: References) -> dict[str, list[str]]:
    """Return what may be included with a type, and what refers to it; `*` takes all."""
    return {
        "searchInclude": ["*", *(f"{name}:{code}" for code, _ in references.get(name, ()))],
        "searchRevInclude": [
            "*",
            *(f"{other}:{code}" for other, found in references.items() for code, targets in found if name in targets),
        ],
    }


def _resource(
    name: str, codes: list[dict[str, str]], parameters: Sequence[Parameter], of_every_type: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": codes,
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        **of_every_type,
        "searchParam": _search_params(parameters),
    }


def _made(name: str, interactions: Sequence[str], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return what is said of a type that the server makes by itself: it has one version, and no criteria."""
    return {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": [{"code": code} for code in interactions],
        "versioning": "no-version",
        "readHistory": False,
        "updateCreate": False,
        "searchParam": _search_params(parameters),
    }


def _search_params(parameters: Sequence[Parameter]) -> list[dict[str, str]]:
    return [{"name": code, **({"definition": url} if url else {}), "type": kind} for code, kind, url in parameters]


def _of_all(parameters: Mapping[str, Sequence[Parameter]], but: Collection[str]) -> list[Parameter]:
    """Return the parameters that all other types have: by these everything is searched."""
    found = [set(of_type) for name, of_type in parameters.items() if name not in but]
    return sorted(set.intersection(*found)) if found else []
