"""The resources that a message made, as a Bundle for another server: by their identifiers, not by our ids.

http://hl7.org/fhir/R4/http.html#transaction
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from conformance.r4 import model
from mappings.mapped import decode, encode

How = Literal["transaction", "update", "create"]
Resource = dict[str, Any]
_OURS = re.compile(r"[A-Z][A-Za-z]{0,63}/[A-Za-z0-9\-.]{1,64}\Z")


def collection(bodies: Sequence[bytes], base: str) -> bytes:
    """Return resources as a Bundle of type collection, each under its address at our `base`."""
    entries = [{"fullUrl": f"{base}/{_name(one)}", "resource": one} for one in map(decode, bodies)]
    return encode({"resourceType": "Bundle", "type": "collection", "entry": entries})


def transaction(bodies: Sequence[bytes], base: str, how: How) -> bytes:
    """Return resources as a transaction that another server takes as often as it comes with one effect.

    Each is updated, or created where there is none with its identifier (`how` create: only that). One without any gets
    its address here as one. References to others of the Bundle are to their fullUrl, all else leads to `base`.
    """
    resources = [decode(body) for body in bodies]
    urls = {_name(one): f"urn:uuid:{uuid5(NAMESPACE_URL, f'{base}/{_name(one)}')}" for one in resources}

    def link(reference: str) -> str:
        found = urls.get(reference)
        return found or (f"{base}/{reference}" if _OURS.match(reference) else reference)

    entries = [_entry(one, urls[_name(one)], link, base, how) for one in resources]
    return encode({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def _entry(resource: Resource, url: str, link: Callable[[str], str], base: str, how: How) -> Resource:
    type_, id_ = resource["resourceType"], resource["id"]
    plain = {name: value for name, value in relinked(resource, link).items() if name != "id"}
    meta = {k: v for k, v in plain.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    plain = {**plain, "meta": meta} if meta else {k: v for k, v in plain.items() if k != "meta"}
    known = _identifier(plain)
    if known is None and _may_be_identified(type_):
        known = (f"{base}/{type_}", id_)
        plain["identifier"] = [*plain.get("identifier", ()), {"system": known[0], "value": known[1]}]
    request: dict[str, str] = {"method": "POST", "url": type_}
    if known is not None:
        criteria = urlencode({"identifier": "|".join(map(_escaped, known))})
        if how == "create":
            request["ifNoneExist"] = criteria
        else:
            request = {"method": "PUT", "url": f"{type_}?{criteria}"}
    return {"fullUrl": url, "resource": plain, "request": request}


def relinked(value: Any, link: Callable[[str], str]) -> Any:
    """Return JSON with every `reference` as `link` has it."""
    if isinstance(value, dict):
        return {
            name: link(child) if name == "reference" and isinstance(child, str) else relinked(child, link)
            for name, child in value.items()
        }
    if isinstance(value, list):
        return [relinked(child, link) for child in value]
    return value


def _name(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _identifier(resource: Resource) -> tuple[str, str] | None:
    """Return system and value of the first identifier that has both and is in use."""
    given = resource.get("identifier")
    for one in given if isinstance(given, list) else ():
        if one.get("system") and one.get("value") and one.get("use") != "old":
            return one["system"], one["value"]
    return None


def _may_be_identified(type_: str) -> bool:
    """Tell whether resources of a type may have several identifiers."""
    declared = getattr(model, type_).__annotations__.get("identifier", "")
    return "list" in str(declared)


def _escaped(text: str) -> str:
    """Escape what separates values of a search: https://hl7.org/fhir/R4/search.html#escaping."""
    return re.sub(r"([\\,$|])", r"\\\1", text)
