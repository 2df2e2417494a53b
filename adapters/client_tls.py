"""TLS of connections that we open, by certificates and keys that are held in memory.

https://www.rfc-editor.org/rfc/rfc9325
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)


def client_context(authorities: str | None, certificate: str | None, key: bytes | None) -> ssl.SSLContext:
    """Return the context of a sender that trusts these authorities (PEM), or the well-known ones, and may show its own
    certificate. Raises ValueError where certificate and key cannot be used, without quoting them.
    """
    context = ssl.create_default_context(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if certificate is not None and key is not None:
        _show(context, certificate, key)
    return context


def _show(context: ssl.SSLContext, certificate: str, key: bytes) -> None:
    """Have a context show a certificate. Python reads keys from files alone: this one is there encrypted, and gone."""
    password = secrets.token_hex(32)
    try:
        private = load_pem_private_key(key, None)
        form = BestAvailableEncryption(password.encode())
        with tempfile.TemporaryDirectory(prefix="concord-tls-") as folder:
            file = Path(folder) / "pair.pem"
            file.touch(0o600)
            sealed = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, form)
            file.write_bytes(sealed + certificate.encode())
            context.load_cert_chain(file, password=password)
    except (ValueError, TypeError, ssl.SSLError):
        raise ValueError("the certificate and its key cannot be used together") from None
