"""Which acknowledgement a sender asks for by MSH-15 and MSH-16, if any.

HL7 v2.5.1 chapter 2.9.2 (original mode), 2.9.3 (enhanced mode) and table 0155 (AL, NE, ER, SU)
"""

from __future__ import annotations

from typing import Literal

from mappings.ack import AckCode
from mappings.header import Header

Kept = Literal["kept", "refused", "failed", "held"]
"""What became of a message as it came in: stored, refused by its MSH, not stored for a passing reason, or stored and
not to be processed before a person has looked at it."""

_ORIGINAL: dict[Kept, AckCode] = {"kept": "AA", "refused": "AR", "failed": "AR", "held": "AE"}
_ACCEPT: dict[Kept, AckCode] = {"kept": "CA", "refused": "CR", "failed": "CE", "held": "CE"}


def is_original(header: Header) -> bool:
    """Tell whether the sender leaves both conditions empty: then one acknowledgement says all."""
    return not header.accept_ack and not header.application_ack


def on_keeping(header: Header, kept: Kept) -> AckCode | None:
    """Return the code of the answer that goes out once the message is stored or refused; None where none is wanted.

    A sender that wants no accept acknowledgement but an application one gets that: a connection carries one answer.

    >>> from mappings.header import header
    >>> [on_keeping(header(f"MSH|^~\\\\&|A|B|||1||ADT^A01|1|P|2.5|||{wants}".encode()), "kept")
    ...  for wants in ("|", "AL|NE", "NE|AL", "NE|NE", "ER|")]
    ['AA', 'CA', 'AA', None, None]
    """
    if is_original(header):
        return _ORIGINAL[kept]
    good = kept == "kept"
    if _wants(header.accept_ack, good):
        return _ACCEPT[kept]
    return _ORIGINAL[kept] if _wants(header.application_ack, good) else None


def awaits_application(header: Header) -> bool:
    """Tell whether the answer on the connection may be the application acknowledgement, given after processing."""
    return is_original(header) or not (_wants(header.accept_ack, True) or header.application_ack in ("", "NE"))


def on_processing(header: Header, done: bool) -> AckCode | None:
    """Return the code of the answer once the message is processed, or given up; None where none is wanted."""
    if is_original(header) or _wants(header.application_ack, done):
        return "AA" if done else "AE"
    return None


def defers_application(header: Header) -> bool:
    """Tell whether a sender got an accept acknowledgement and waits for the other as a message of its own."""
    return not is_original(header) and _wants(header.accept_ack, True)


def _wants(condition: str, good: bool) -> bool:
    """Table 0155; what is not in it is taken for `always`, so that no sender waits for an answer in vain."""
    return {"": False, "NE": False, "ER": not good, "SU": good}.get(condition, True)
