"""What a Consent denies, as flat rules that the database compares with a row and with who asks.

http://hl7.org/fhir/R4/consent.html · https://profiles.ihe.net/ITI/PCF/

Only what is denied matters: without a Consent, roles and scopes decide. A rule that permits stands only as an exception
to one that denies. Where a Consent says something that cannot be compared, it denies more and permits less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from conformance.r4.types import TYPE_CODES
from conformance.search_params import Registry
from fhir_server.search.date import BEGINNING, FOREVER, interval
from fhir_server.search.hashing import Hasher
from fhir_server.search.ownership import label_codes
from fhir_server.search.reference import Place

_T = TypeVar("_T")
TYPE = "Consent"
_SCOPE = "patient-privacy"
_RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"
_OPTED_OUT = frozenset(("OPTOUT", "OPTOUTE"))
# Actions that a reader does; a rule about others says nothing of what may be seen.
_SEEING = frozenset(("access", "use", "disclose"))
# Who can be told from a request: a person by what they are in the records, and by the organization they work for.
_ACTORS = frozenset(("Practitioner", "PractitionerRole", "Organization", "RelatedPerson", "Patient", "Device"))
# Search parameters that name whose work a record is: http://hl7.org/fhir/R4/fivews.html (FiveWs.author, FiveWs.actor)
_AUTHORS = frozenset(("author", "asserter", "performer", "recorder", "requester", "assessor", "attester", "enterer"))
_MEANINGS = ("instance", "dependents", "authoredby")
_DATE = len("2026-03-01")
# The labels that another stands for: http://terminology.hl7.org/CodeSystem/v3-Confidentiality and v3-ActCode
_SUD = ("SUD", "ETHUD", "OPIOIDUD", "ETHUDANON", "TBOO", "42CFRPART2")
_MENTAL = ("MH", "PSY", "PSYTHPN", "EMOTDIS", "COGN", "DVD")
_WIDER = {
    "N": ("N", "R", "V"),
    "R": ("R", "V"),
    "SUD": _SUD,
    "ETH": ("ETH", *_SUD),
    "MH": _MENTAL,
    "PSY": _MENTAL,
    "BH": ("BH", *_SUD, *_MENTAL),
}


class Rule(msgspec.Struct, frozen=True):
    """One provision with what it inherits; None asks nothing. `above` are the numbers of the provisions around it.

    `actors` and `records` are self_keys, `labels` keys of labels, `types` numbers of resource types; the moments are
    half open. `mentions` are keys of references: a rule with it and `records` is about rows of either.
    """

    n: int
    above: tuple[int, ...]
    deny: bool
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    actors: tuple[int, ...] | None = None
    purposes: tuple[str, ...] | None = None
    types: tuple[int, ...] | None = None
    labels: tuple[int, ...] | None = None
    records: tuple[int, ...] | None = None
    mentions: tuple[int, ...] | None = None
    data_from: datetime | None = None
    data_to: datetime | None = None


class _Unsaid(Exception):
    """A permission that nothing can be compared with: it permits nothing."""


def label_key(hasher: Hasher, tenant_id: int, code: str) -> int:
    """Return the key under which a security label stands among a row's keys, in every type and of any system."""
    return hasher.token_hash(None, code.upper()) ^ hasher.salt(tenant_id, "", "security-label")


def label_keys(place: Place, resource_type: str, resource: Any) -> list[int]:
    """Return the keys of the security labels of a resource."""
    return [label_key(place.hasher, place.tenant_id, code) for code in label_codes(resource_type, resource)]


def patient_of(place: Place, consent: Any) -> int | None:
    """Return the self_key of the patient whose Consent it is."""
    return next(iter(_keys(place, [consent.patient], frozenset(("Patient",)))), None)


def rules(place: Place, consent: Any) -> list[Rule]:
    """Return what an active Consent of privacy denies, with the exceptions to it; nothing for any other."""
    if consent.status != "active" or _SCOPE not in _codes([consent.scope]):
        return []
    found = list(_walked(place, consent))
    denied = {rule.n for rule in found if rule.deny}
    return [rule for rule in found if rule.deny or denied.intersection(rule.above)]


def _walked(place: Place, consent: Any) -> Iterator[Rule]:
    policy = () if consent.policyRule is UNSET else _codes([consent.policyRule])
    base = Rule(0, (), deny=not _OPTED_OUT.isdisjoint(policy))
    if consent.provision is UNSET:
        yield base
        return
    waiting = [(consent.provision, base)]
    number = 0
    while waiting:
        provision, around = waiting.pop(0)
        deny = around.deny if provision.type is UNSET else provision.type == "deny"
        if not _is_of_seeing(provision):
            continue
        above = (*around.above, around.n) if number else ()
        inherited = msgspec.structs.replace(around, n=number, above=above, deny=deny)
        number += 1
        try:
            rule = _narrowed(place, provision, inherited)
            yield rule
        except _Unsaid:
            rule = inherited
        waiting += [(one, rule) for one in _listed(provision.provision)]


def _is_of_seeing(provision: Any) -> bool:
    actions = _codes(_listed(provision.action))
    return not actions or not _SEEING.isdisjoint(actions)


def _narrowed(place: Place, provision: Any, rule: Rule) -> Rule:
    """Return the rule with what the provision asks; raise _Unsaid for a permission that cannot be compared."""
    asked: dict[str, Any] = {
        "actors": _actors(place, provision, deny=rule.deny),
        "types": _types(provision, deny=rule.deny),
        **_data(place, _listed(provision.data), deny=rule.deny),
        "purposes": _purposes(_listed(provision.purpose), deny=rule.deny),
        "labels": _labels(place, _listed(provision.securityLabel), deny=rule.deny),
    }
    if provision.code is not UNSET and not rule.deny:
        raise _Unsaid
    begins, ends = _period(provision.period)
    first, last = _period(provision.dataPeriod)
    times = {"valid_from": begins, "valid_to": ends, "data_from": first, "data_to": last}
    said = {name: value for name, value in {**asked, **times}.items() if value}
    if "records" in said or "mentions" in said:
        # What is said of data here is all that counts: the two are one condition.
        said = {"records": None, "mentions": None, **said}
    return msgspec.structs.replace(rule, **said)


def _actors(place: Place, provision: Any, *, deny: bool) -> tuple[int, ...]:
    given = [one.reference for one in _listed(provision.actor)]
    return _comparable(given, _keys(place, given, _ACTORS), deny=deny)


def _types(provision: Any, *, deny: bool) -> tuple[int, ...]:
    given = _listed(provision.class_)
    known = [one for one in given if one.system == _RESOURCE_TYPES and one.code in TYPE_CODES]
    return _comparable(given, tuple(TYPE_CODES[one.code] for one in known), deny=deny)


def _data(place: Place, given: list[Any], *, deny: bool) -> dict[str, tuple[int, ...]]:
    """Return what records a provision names, and by which references others are meant with them or instead of them."""
    known = [(one, one.meaning if one.meaning is not UNSET else "instance") for one in given]
    found = [
        (key, meaning)
        for one, meaning in known
        if meaning in _MEANINGS
        for key in _keys(place, [one.reference], frozenset(TYPE_CODES))
    ]
    if not _comparable(given, tuple(found), deny=deny):
        return {"records": (), "mentions": ()}
    return {
        "records": tuple(key for key, meaning in found if meaning != "authoredby"),
        "mentions": tuple(
            key ^ place.hasher.salt(place.tenant_id, type_, code)
            for key, meaning in found
            for type_, code in _links()
            if meaning == "dependents" or (meaning == "authoredby" and code in _AUTHORS)
        ),
    }


@cache
def _links() -> tuple[tuple[str, str], ...]:
    """Return type and code of every search parameter by which a record refers to another."""
    registry = Registry.r4()
    return tuple((type_, one.code) for type_ in TYPE_CODES for one in registry.references(type_))


def _comparable(given: list[Any], found: tuple[_T, ...], *, deny: bool) -> tuple[_T, ...]:
    """Return what can be compared: where a denial names something else too, nothing, so that it is of everything."""
    if deny:
        return found if len(found) == len(given) else ()
    if given and not found:
        raise _Unsaid
    return found


def _purposes(given: list[Any], *, deny: bool) -> tuple[str, ...]:
    codes = tuple(code.upper() for code in _coded(given))
    return _comparable(given, codes, deny=deny)


def _labels(place: Place, given: list[Any], *, deny: bool) -> tuple[int, ...]:
    codes = _comparable(given, tuple(code.upper() for code in _coded(given)), deny=deny)
    wider = dict.fromkeys(one for code in codes for one in (code, *_WIDER.get(code, ())))
    return tuple(label_key(place.hasher, place.tenant_id, code) for code in wider)


def _keys(place: Place, references: Iterable[Any], types: frozenset[str]) -> tuple[int, ...]:
    found = []
    for one in references:
        target = None if one is UNSET or one.reference is UNSET else place.local(one.reference)
        if target and target.type in types:
            found.append(place.self_key(target))
    return tuple(found)


def _listed(value: Any) -> list[Any]:
    return [] if value is UNSET else list(value)


def _coded(codings: Iterable[Any]) -> list[str]:
    return [one.code for one in codings if one.code is not UNSET]


def _codes(concepts: Iterable[Any]) -> list[str]:
    return [code for concept in concepts for code in _coded(_listed(concept.coding))]


def _period(value: Any) -> tuple[datetime | None, datetime | None]:
    """Return the moments of a Period, None where it is open; a day counts to its end."""
    if value is UNSET:
        return None, None
    begins = None if value.start is UNSET else interval(value.start)[0]
    ends = None if value.end is UNSET else interval(value.end)[len(value.end) <= _DATE]
    return (None if begins == BEGINNING else begins), (None if ends == FOREVER else ends)
