"""How an HTTP process is served: the connections' bounds, TLS, and nobody's word about who is connected.

https://www.rfc-editor.org/rfc/rfc9325 (TLS 1.2 or newer)
"""

from __future__ import annotations

import ssl
from typing import Any

import uvicorn

from fhir_server.http.protocol import bounded
from fhir_server.settings import Settings


def config_of(app: Any, settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration. Raises OSError (ssl.SSLError among it) for a certificate that cannot be used."""
    config = uvicorn.Config(
        app,
        http=bounded(settings.max_header_bytes, settings.header_timeout),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        # Whose word is taken about where a request comes from, http/peers.py decides.
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.stop_timeout),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        config.ssl.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return config
