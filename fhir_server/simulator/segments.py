"""The segments of simulated messages, as text: HL7 v2.5.1 chapters 2, 3, 4, 6, 7, 9 and 10."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from fhir_server.simulator import invented
from fhir_server.simulator.panels import Analyte, Panel
from fhir_server.simulator.person import Person


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """How the simulated sender writes. `charset` is MSH-18; without `zones` its times do not say where they are."""

    app: str = "SIM"
    facility: str = "SIM"
    receiver: tuple[str, str] = ("CONCORD", "CLINIC")
    processing_id: str = "T"
    version: str = "2.5.1"
    charset: str = "UNICODE UTF-8"
    zones: bool = True

    def time(self, moment: datetime) -> str:
        """Return a DTM to the second."""
        return moment.strftime("%Y%m%d%H%M%S%z" if self.zones else "%Y%m%d%H%M%S")


def row(name: str, *fields: str) -> str:
    """Return a segment; empty fields at its end are left out."""
    return "|".join((name, *fields)).rstrip("|")


def msh(writing: Writing, now: datetime, event: tuple[str, str, str], control_id: str) -> str:
    """Return the MSH of a message; `event` is type, trigger and structure."""
    who = (writing.app, writing.facility, *writing.receiver)
    what = ("^".join(event), control_id, writing.processing_id, writing.version)
    return row("MSH", "^~\\&", *who, writing.time(now), "", *what, *[""] * 5, writing.charset)


def evn(writing: Writing, now: datetime, trigger: str) -> str:
    """Return the EVN."""
    return row("EVN", trigger, writing.time(now))


def pid(person: Person) -> str:
    """Return the PID: without a social security number, which nobody may invent."""
    name = f"{person.family}^{person.given}^^^^^L"
    address = f"{person.street}^^{person.city}^{invented.STATE}^{person.zip}^USA^H"
    phone = f"^PRN^PH^^1^{invented.AREA}^{invented.EXCHANGE}{person.phone}"
    born = person.born.strftime("%Y%m%d")
    return row("PID", "1", "", f"{person.mrn}^^^SIM^MR", "", name, "", born, person.sex, "", "", address, "", phone)


def physician(number: int) -> str:
    """Return an XCN."""
    id_, family, given = invented.PHYSICIANS[number % len(invented.PHYSICIANS)]
    return f"{id_}^{family}^{given}^^^^^^SIM"


def pv1(class_: str, place: str, doctor: int, number: str, began: str, ended: str = "") -> str:
    """Return the PV1 of a visit; `class_` is I or O."""
    return row(
        "PV1", "1", class_, place, *[""] * 3, physician(doctor), *[""] * 11, f"{number}^^^SIM^VN", *[""] * 24, began,
        ended,
    )  # fmt: skip


def orc(control: str, placer: str, filler: str, status: str, at: str, doctor: int) -> str:
    """Return the ORC of an order."""
    return row("ORC", control, placer, filler, "", status, *[""] * 3, at, "", "", physician(doctor))


def obr(number: int, placer: str, filler: str, panel: Panel, taken: str, doctor: int, told: str, status: str) -> str:
    """Return the OBR of a panel; an order has neither `told` nor `status`."""
    code = f"{panel.code}^{panel.name}^LN"
    section = "LAB" if status else ""
    return row(
        "OBR", str(number), placer, filler, code, "", "", taken, *[""] * 8, physician(doctor), *[""] * 5, told, "",
        section, status,
    )  # fmt: skip


def obx(number: int, analyte: Analyte, value: float, status: str, at: str) -> str:
    """Return the OBX of a number."""
    text = f"{value:.{analyte.decimals}f}"
    low, high = (f"{bound:.{analyte.decimals}f}" for bound in (analyte.low, analyte.high))
    flag = "L" if float(text) < float(low) else "H" if float(text) > float(high) else "N"
    code, unit = f"{analyte.code}^{analyte.name}^LN", f"{analyte.unit}^^UCUM"
    return row("OBX", str(number), "NM", code, "", text, unit, f"{low}-{high}", flag, "", "", status, "", "", at)


def lines(code: str, said: Sequence[str], at: str) -> list[str]:
    """Return an OBX for each line of a text."""
    return [
        row("OBX", str(n), "TX", code, "", line, *[""] * 5, "F", "", "", at) for n, line in enumerate(said, start=1)
    ]
