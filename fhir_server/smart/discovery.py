"""What a tenant publishes for SMART apps: where tokens come from, and what can be asked for.

https://hl7.org/fhir/smart-app-launch/conformance.html
"""

from __future__ import annotations

import msgspec

from fhir_server.context import Tenant
from fhir_server.smart.assertion import ALGORITHMS
from fhir_server.smart.issuing import token_endpoint


def smart_configuration(base_url: str, tenant: Tenant) -> bytes:
    """Return the well-known document of a tenant as JSON."""
    return msgspec.json.encode(
        {
            "token_endpoint": token_endpoint(base_url, tenant),
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["system/*.cruds", "system/*.rs", "system/*.read", "system/*.write", "system/*.*"],
            "jwks_uri": f"{base_url}/{tenant.name}/oauth/jwks",
            # Required of every server, though no grant offered here uses it yet; plain never will be.
            "code_challenge_methods_supported": ["S256"],
            "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
        }
    )
