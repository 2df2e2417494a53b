"""Where the messages of a channel, or the resources that they made, are sent.

HL7 v2.5.1 chapter 2.9.2 (what an answer means to the one who sent)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from cryptography.x509 import load_pem_x509_certificates

from adapters.web import Refused, origin
from conformance.issue import Issue
from fhir_server.operations.part import Part, wrong
from fhir_server.operations.sign_in import Basic, Bearer, SignIn, secrets_of
from fhir_server.operations.sign_in import problems as sign_in_problems

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_TYPE = re.compile(r"[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2})?\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?\Z")
_REWRITTEN = re.compile(r"MSH-(3|4|5|6|8|11|15|16)\Z")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")
_LONGEST_WAIT = 300.0
_MOST_CONNECTIONS = 16
_PLAIN_TEXT = re.compile(r"[^\x00-\x1f]{0,200}\Z")


class Again(Part, frozen=True):
    """How often a delivery is tried whose receiver could be reached but did not take it, and the seconds between.

    A receiver that cannot be reached is waited for without end.
    """

    attempts: int = 20
    base: float = 1.0
    most: float = 300.0


class Breaker(Part, frozen=True):
    """After so many failures in a row nothing is sent for `pause` seconds, then one delivery is; doubling to `most`."""

    failures: int = 5
    pause: float = 15.0
    most: float = 300.0


class Tls(Part, frozen=True):
    """TLS of an outgoing connection: PEM texts of the authorities that are trusted instead of the well-known ones, and
    of our certificate with its chain. `key` names the secret that holds the certificate's private key (PEM), `name` is
    what the receiver's certificate must be for, where that is not the host.
    """

    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None
    name: str | None = None


class Destination(Part, frozen=True, kw_only=True, tag_field="kind"):
    """What all kinds have in common.

    `types` are those of the messages, such as ORU or ORU^R01; none listed: all. `order`: deliveries of one patient or
    order go one after the other (key), or all of them do (all). `hold`: what waits for one that a person must look at:
    nothing (delivery), what is behind it in its order (key), or all of the destination.
    """

    name: str
    types: tuple[str, ...] = ()
    sends: Literal["message", "resources"] = "message"
    order: Literal["key", "all"] = "key"
    hold: Literal["delivery", "key", "destination"] = "delivery"
    connections: int = 1
    retry: Again = Again()
    breaker: Breaker = Breaker()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that it needs."""
        return ()

    @property
    def patience(self) -> float:
        """Return the seconds that one try may take at most."""
        return 60.0

    def takes(self, message_type: str, trigger: str) -> bool:
        """Tell whether a message of this type is sent there."""
        return not self.types or bool({message_type, f"{message_type}^{trigger}"} & {*self.types})


class MllpOut(Destination, frozen=True, kw_only=True, tag="mllp"):
    """A receiver over MLLP. `connect` and `answer` are seconds to wait; `msh` has fields that are written anew."""

    host: str
    port: int
    tls: Tls | None = None
    connect: float = 10.0
    answer: float = 30.0
    msh: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that it needs."""
        return (self.tls.key,) if self.tls and self.tls.key else ()

    @property
    def patience(self) -> float:
        """Return the seconds that one try may take at most."""
        return self.connect + self.answer


class HttpOut(Destination, frozen=True, kw_only=True, tag="http"):
    """A receiver of POSTs: of messages as application/hl7-v2, or of resources as a Bundle. `seconds` bounds a try."""

    url: str
    sign_in: Basic | Bearer | None = None
    seconds: float = 30.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that it needs."""
        return secrets_of(self.sign_in)

    @property
    def patience(self) -> float:
        """Return the seconds that one try may take at most."""
        return self.seconds


class FhirOut(Destination, frozen=True, kw_only=True, tag="fhir"):
    """A FHIR server that gets resources: all of a message in one transaction, or one after the other, updated by their
    identifiers or created where there is none with theirs. `seconds` bounds a try.
    """

    base: str
    how: Literal["transaction", "update", "create"] = "transaction"
    sends: Literal["message", "resources"] = "resources"
    sign_in: SignIn | None = None
    seconds: float = 60.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that it needs."""
        return secrets_of(self.sign_in)

    @property
    def patience(self) -> float:
        """Return the seconds that one try may take at most."""
        return self.seconds


class FolderOut(Destination, frozen=True, kw_only=True, tag="folder"):
    """A folder that gets a file for each message; `folder` lies below the clinic's own, which the operator allows."""

    folder: str


AnyDestination = MllpOut | HttpOut | FhirOut | FolderOut


def problems(given: Sequence[AnyDestination], acks_to: str | None) -> list[Issue]:
    """Return what is wrong with the destinations of a channel; `acks_to` names the one that gets acknowledgements."""
    names = [one.name for one in given]
    found = [
        wrong(f"destinations[{n}].name", f"{name[:80]!r} is the name of two destinations")
        for n, name in enumerate(names)
        if name in names[:n]
    ]
    for number, one in enumerate(given):
        place = f"destinations[{number}]"
        found += [wrong(f"{place}.{path}", text) for path, text in (*_wrong(one), *_wrong_of_kind(one))]
        if isinstance(one, HttpOut | FhirOut):
            found += sign_in_problems(f"{place}.sign_in", one.sign_in)
    carrier = next((one for one in given if one.name == acks_to), None)
    if acks_to is not None and not isinstance(carrier, MllpOut):
        found.append(wrong("ack.to", f"{acks_to[:80]!r} is no destination of kind mllp of this channel"))
    return found


Wrong = Iterator[tuple[str, str]]


def _wrong(one: AnyDestination) -> Wrong:
    if not _NAME.match(one.name):
        yield "name", f"{one.name[:80]!r}: 1 to 63 of a-z 0-9 . _ -, a letter or digit first"
    for text in one.types:
        if not _TYPE.match(text):
            yield "types", f"{text[:20]!r} is not like ORU or ORU^R01"
    if not 1 <= one.connections <= _MOST_CONNECTIONS:
        yield "connections", f"1 to {_MOST_CONNECTIONS}"
    if not (one.retry.attempts >= 1 and 0 < one.retry.base <= one.retry.most):
        yield "retry", "attempts is 1 or more, base above 0 and most not below it"
    if not (one.breaker.failures >= 1 and 0 < one.breaker.pause <= one.breaker.most):
        yield "breaker", "failures is 1 or more, pause above 0 and most not below it"


def _wrong_of_kind(one: AnyDestination) -> Wrong:
    if isinstance(one, MllpOut):
        return _wrong_mllp(one)
    if isinstance(one, FolderOut):
        return _wrong_folder(one)
    return _wrong_web(one)


def _wrong_mllp(one: MllpOut) -> Wrong:
    if one.sends != "message":
        yield "sends", "MLLP carries messages"
    if not _HOST.match(one.host):
        yield "host", f"{one.host[:80]!r} is no host name or address"
    if not 0 < one.port < 65536:
        yield "port", "1 to 65535"
    for name in ("connect", "answer"):
        if not 0 < getattr(one, name) <= _LONGEST_WAIT:
            yield name, f"above 0 and at most {_LONGEST_WAIT:g}"
    for field, value in one.msh.items():
        if not _REWRITTEN.match(field) or not _PLAIN_TEXT.match(value):
            yield "msh", f"{field[:20]!r}: MSH-3 to MSH-6, MSH-8, MSH-11, MSH-15 and MSH-16 can be written anew"
    if one.tls:
        yield from _wrong_tls(one.tls)


def _wrong_tls(tls: Tls) -> Wrong:
    if (tls.certificate is None) != (tls.key is None):
        yield "tls", "a certificate and the secret with its key are given together"
    if tls.key is not None and not _NAME.match(tls.key):
        yield "tls.key", f"{tls.key[:80]!r} is no name of a secret: the key itself never stands in a definition"
    for name in ("authorities", "certificate"):
        text = getattr(tls, name)
        if text is not None and not _is_pem(text):
            yield f"tls.{name}", "certificates in PEM"


def _is_pem(text: str) -> bool:
    if "PRIVATE KEY" in text:
        return False
    try:
        return bool(load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def _wrong_web(one: HttpOut | FhirOut) -> Wrong:
    name, url = ("url", one.url) if isinstance(one, HttpOut) else ("base", one.base)
    try:
        origin(url)
    except Refused as problem:
        yield name, str(problem)
    if not 0 < one.seconds <= _LONGEST_WAIT:
        yield "seconds", f"above 0 and at most {_LONGEST_WAIT:g}"
    if isinstance(one, FhirOut) and one.sends != "resources":
        yield "sends", "a FHIR server gets resources"
    if isinstance(one, FhirOut) and "?" in one.base:
        yield "base", "a base has no query"


def _wrong_folder(one: FolderOut) -> Wrong:
    if not all(_PART.match(part) for part in one.folder.split("/")):
        yield "folder", f"{one.folder[:80]!r}: names below the clinic's folder, with / between, none of them hidden"
