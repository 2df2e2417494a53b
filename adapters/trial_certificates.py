"""Certificates for trying MLLP over TLS: an authority that signs receivers and senders. Not for patients' data.

https://www.rfc-editor.org/rfc/rfc5280
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapters import certificates
from adapters.contract import Certificate

_ORGANIZATION = "Concord trial, not for patients"
# Clocks differ; a certificate is good a little before it was made.
_BEFORE = timedelta(minutes=5)


class TrialAuthority:
    """The authority in a folder (`authority.pem`, `authority.key`), made where there is none."""

    def __init__(self, folder: Path, now: datetime, days: int) -> None:
        """`now` must know its time zone. Raises OSError, or ValueError where what is there is no authority."""
        self._folder, self._now, self._days = folder, now, days
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "authority.pem"
        key_file = folder / "authority.key"
        if self.file.exists():
            key = load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_file} holds no key of a trial authority")
            self._key = key
            self._name = x509.load_pem_x509_certificate(self.file.read_bytes()).subject
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._name = _name("Trial authority")
            _write(key_file, _private(self._key), secret=True)
            _write(self.file, self._own().public_bytes(Encoding.PEM))

    def receiver(self, hosts: list[str]) -> Certificate:
        """Write `server.pem` and `server.key` for a receiver with these names or addresses. Raises FileExistsError."""
        return self._issue("server", hosts[0], hosts, ExtendedKeyUsageOID.SERVER_AUTH)

    def sender(self, name: str) -> Certificate:
        """Write `NAME.pem` and `NAME.key` for a sender. Raises FileExistsError."""
        return self._issue(name, name, [name], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(self, file: str, common: str, hosts: list[str], use: x509.ObjectIdentifier) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        built = self._builder(_name(common), key.public_key())
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        built = built.add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = built.add_extension(of_authority, critical=False).sign(self._key, hashes.SHA256())
        _write(self._folder / f"{file}.key", _private(key), secret=True)
        _write(self._folder / f"{file}.pem", signed.public_bytes(Encoding.PEM))
        return certificates.read(signed.public_bytes(Encoding.DER))

    def _own(self) -> x509.Certificate:
        built = self._builder(self._name, self._key.public_key())
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        built = built.add_extension(signs, critical=True)
        named = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return built.add_extension(named, critical=False).sign(self._key, hashes.SHA256())

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        built = built.serial_number(x509.random_serial_number()).not_valid_before(self._now - _BEFORE)
        return built.not_valid_after(self._now + timedelta(days=self._days))


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a file that is not there yet; a secret one for its owner's eyes alone."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as out:
        out.write(data)
