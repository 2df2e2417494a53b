"""The registry of converters: what a table row names is found here, and nowhere else.

The names are HL7's: v2 type, and in brackets the FHIR type. `calls` are for what needs more than one field.
https://build.fhir.org/ig/HL7/v2-to-fhir/datatype_maps.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from mappings import attachments, coded, identifiers, names, people, quantities
from mappings.context import Codes, Context
from mappings.times import a_date
from mappings.value import Value

Converter: TypeAlias = Callable[[Value, Context, Codes | None], Any]


def date(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """DTM, DT, TS → date."""
    text = value.text(1)
    found = a_date(text) if text else None
    if text and not found:
        cx.warn("value", f"{text!r} is no date")
    return found


def date_time(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """DTM, DT, TS → dateTime with the precision sent."""
    text = value.text(1)
    found = cx.clock.date_time(text) if text else None
    if text and not found:
        cx.warn("value", f"{text!r} is no time")
    return found


def instant(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """DTM, TS → instant; a day is none."""
    text = value.text(1)
    found = cx.clock.instant(text) if text else None
    if text and not found:
        cx.warn("value", f"{text!r} does not say a time of day and its zone, which FHIR asks for here")
    return found


def range_of_times(value: Value, cx: Context, codes: Codes | None) -> Any:
    """DR → Period."""
    return names.period(value, cx, 1, 2)


def text(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """ST, TX, FT, ID, IS → string, markdown."""
    return value.whole() or None


def first(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """The first component of anything → string."""
    return value.text(1) or None


def annotation(value: Value, cx: Context, codes: Codes | None) -> Any:
    """CWE, ST → Annotation."""
    said = value.text(9) or value.text(2) or value.text(1)
    return {"text": said} if said else None


CONVERTERS: Mapping[str, Converter] = MappingProxyType(
    {
        "CNE[CodeableConcept]": coded.codeable,
        "CQ[Quantity]": quantities.simple,
        "CWE[Annotation]": annotation,
        "CWE[CodeableConcept]": coded.codeable,
        "CWE[Code]": coded.code,
        "CWE[Coding]": coded.coding,
        "CWE[Organization]": people.coded_organization,
        "CWE[code]": coded.code,
        "CX[Identifier]": identifiers.cx,
        "CX[Visit]": identifiers.visit,
        "DLD[Location-Discharge]": people.discharged_to,
        "DLN[Identifier]": identifiers.licence,
        "DR[Period]": range_of_times,
        "DR[dateTime]": date_time,
        "DT[dateTime]": date_time,
        "DTM[DateTime]": date_time,
        "DTM[date]": date,
        "DTM[dateTime]": date_time,
        "DTM[instant]": instant,
        "ED[Attachment]": attachments.embedded,
        "EI[Group]": identifiers.group,
        "EI[Identifier-Extension]": identifiers.ei,
        "EIP[Identifier-FillerAssignedIdentifier]": identifiers.filler_of_pair,
        "EIP[Identifier-PlacerAssignedIdentifier]": identifiers.placer_of_pair,
        "FT[markdown]": text,
        "ID[Boolean]": coded.truth,
        "ID[CodeableConcept]": coded.codeable,
        "ID[code]": coded.code,
        "NDL[PractitionerRole]": people.interpreter,
        "NM[Quantity-LengthOfStay]": quantities.days,
        "NM[integer]": quantities.positive,
        "NM[positiveInt]": quantities.positive,
        "PL[Location]": people.location,
        "PL[location]": people.location,
        "ST[first]": first,
        "ST[CodeableConcept]": coded.concept_of_text,
        "ST[string]": text,
        "TS[dateTime]": date_time,
        "XAD[Address]": names.address,
        "XCN[Practitioner]": people.practitioner,
        "XON[Organization]": people.organization,
        "XON[string]": coded.label,
        "XPN[HumanName]": names.human_name,
        "XPN[String]": names.mothers_name,
        "XTN[ContactPoint]": names.contact,
    }
)
