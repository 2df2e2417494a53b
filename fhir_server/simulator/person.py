"""A simulated person: always the same one for a number, and nobody."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

import msgspec

from fhir_server.simulator import invented

_FIRST_BIRTHDAY = date(1935, 1, 1)
_BIRTHDAYS = 32_000  # days after the first on which a simulated person may be born


class Person(msgspec.Struct, frozen=True):
    """Who a message is about; `number` tells them apart."""

    number: int
    family: str
    given: str
    sex: str
    born: date
    street: str
    city: str
    zip: str
    phone: str

    @property
    def mrn(self) -> str:
        """Return the medical record number, which no hospital gives."""
        return f"SIM{self.number:07d}"


def person(number: int) -> Person:
    """Return the person of a number: whatever the run, the same."""
    random = Random(f"person {number}")
    sex = random.choice("FM")
    city, postcode = random.choice(invented.CITIES)
    line = invented.FIRST_LINE + random.randrange(invented.LINES)
    return Person(
        number,
        random.choice(invented.FAMILY_BEGINNINGS) + random.choice(invented.FAMILY_ENDS),
        random.choice(invented.GIVEN[sex]),
        sex,
        _FIRST_BIRTHDAY + timedelta(days=random.randrange(_BIRTHDAYS)),
        f"{random.randrange(1, 200)} {random.choice(invented.STREETS)}",
        city,
        postcode,
        f"{line:04d}",
    )
