"""Certificates of peers and of our own: the names in them, and TLS 1.2 or newer that is read anew when renewed.

https://www.rfc-editor.org/rfc/rfc9325 · https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6 (alternative names)
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from adapters.contract import Certificate

log = logging.getLogger(__name__)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
KINDS = ("sha256", "subject", "cn", "dns", "ip", "uri", "email")


def normal(mark: str) -> str:
    """Return a fingerprint or name as `marks` has it: `sha256:…`, `dns:lab.example`, `cn:Northlab`, `subject:CN=…`.

    Raises ValueError for what is neither.
    """
    kind, colon, value = mark.strip().partition(":")
    kind, value = kind.strip().lower(), value.strip()
    if not colon or kind not in KINDS or not value:
        raise ValueError(f"begins with one of {', '.join(f'{k}:' for k in KINDS)}")
    if kind == "sha256":
        value = value.replace(":", "").lower()
        if not _FINGERPRINT.match(value):
            raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    elif kind == "ip":
        value = str(ip_address(value))
    elif kind in ("dns", "email"):
        value = value.rstrip(".").lower()
    return f"{kind}:{value}"


def read(der: bytes) -> Certificate:
    """Return what a certificate says of its holder; one whose names cannot be read has its fingerprint alone."""
    fingerprint = f"sha256:{hashlib.sha256(der).hexdigest()}"
    try:
        names = frozenset(_names(x509.load_der_x509_certificate(der)))
    except ValueError as problem:
        log.warning("the names of certificate %s cannot be read: %s", fingerprint, problem)
        names = frozenset()
    return Certificate(fingerprint, frozenset((fingerprint, *names)))


def _names(certificate: x509.Certificate) -> Iterator[str]:
    if certificate.subject.rdns:
        yield f"subject:{certificate.subject.rfc4514_string()}"
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common) == 1:
        yield f"cn:{common[0].value!s}"
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for kind, type_ in (("dns", x509.DNSName), ("uri", x509.UniformResourceIdentifier), ("email", x509.RFC822Name)):
        for name in found.get_values_for_type(type_):
            yield f"{kind}:{name if kind == 'uri' else name.lower()}"
    for address in found.get_values_for_type(x509.IPAddress):
        yield f"ip:{address}"


def receiving(certificate: Path, key: Path, authorities: Path | None) -> ssl.SSLContext:
    """Return the context of a receiver; with `authorities`, senders must have a certificate that one of them signed.

    A certificate that stands in that file itself counts as well. Raises OSError (ssl.SSLError among it).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _strict(context)
    context.load_cert_chain(certificate, key)
    # No resumption: who sends is asked for a certificate at each connection, and a renewed one of ours is shown.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if authorities is not None:
        context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def sending(
    authorities: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return the context of a sender that trusts these authorities, or the well-known ones, and may show a certificate.

    Raises OSError (ssl.SSLError among it).
    """
    context = ssl.create_default_context(cafile=authorities)
    _strict(context)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _strict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


class Renewed:
    """A receiver's context that follows its files: whoever connects after they changed meets the new certificate.

    A change that cannot be used, such as a certificate whose key is still to come, leaves the one before in place.
    """

    def __init__(self, certificate: Path, key: Path, authorities: Path | None) -> None:
        """Raise OSError (ssl.SSLError among it) where the files cannot be used."""
        self._files = (certificate, key, authorities)
        self._seen = self._stamps()
        self._context = receiving(certificate, key, authorities)

    def context(self) -> ssl.SSLContext:
        """Return the context for the next connection."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._context = receiving(*self._files)
                log.info("the certificate for MLLP was read anew")
            except OSError as problem:
                log.error("the changed certificate for MLLP cannot be used, the one before stays: %s", problem)
        return self._context

    def _stamps(self) -> list[tuple[int, int, int]]:
        return [_stamp(file) for file in self._files if file is not None]


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
