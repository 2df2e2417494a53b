"""What a tenant publishes for apps: where its endpoints are, and what can be asked for.

https://hl7.org/fhir/smart-app-launch/conformance.html
https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata
"""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_server.context import Tenant, fhir_base, oauth_address
from fhir_server.smart import pkce
from fhir_server.smart.assertion import ALGORITHMS
from fhir_server.smart.authentication import METHODS
from fhir_server.smart.granting import IDENTITY, INTROSPECTION, LAUNCH, REFRESH
from fhir_server.smart.issuing import GRANT_TYPES
from fhir_server.store.keys import IDENTITY_ALGORITHM

# https://hl7.org/fhir/smart-app-launch/conformance.html#capabilities
CAPABILITIES = (
    "launch-ehr", "launch-standalone", "authorize-post", "client-public", "client-confidential-symmetric",
    "client-confidential-asymmetric", "sso-openid-connect", "context-banner", "context-style", "context-ehr-patient",
    "context-ehr-encounter", "context-standalone-patient", "context-standalone-encounter", "permission-offline",
    "permission-online", "permission-patient", "permission-user", "permission-v1", "permission-v2",
)  # fmt: skip
_CLINICAL = tuple(f"{context}/*.{letters}" for context in ("patient", "user", "system") for letters in ("cruds", "rs"))
_V1 = tuple(f"{context}/*.{word}" for context in ("patient", "user", "system") for word in ("read", "write", "*"))
SCOPES = (*IDENTITY, *LAUNCH, *REFRESH, *_CLINICAL, *_V1, INTROSPECTION)


def smart_configuration(base_url: str, tenant: Tenant) -> bytes:
    """Return the well-known document of a tenant as JSON."""
    return msgspec.json.encode({**_both(base_url, tenant), "capabilities": CAPABILITIES})


def openid_configuration(base_url: str, tenant: Tenant) -> bytes:
    """Return the OpenID Connect document of a tenant as JSON."""
    return msgspec.json.encode(
        {
            **_both(base_url, tenant),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [IDENTITY_ALGORITHM],
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser", "name"],
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
        }
    )


def _both(base_url: str, tenant: Tenant) -> dict[str, Any]:
    return {
        "issuer": fhir_base(base_url, tenant),
        "jwks_uri": oauth_address(base_url, tenant, "jwks"),
        "authorization_endpoint": oauth_address(base_url, tenant, "authorize"),
        "token_endpoint": oauth_address(base_url, tenant, "token"),
        "introspection_endpoint": oauth_address(base_url, tenant, "introspect"),
        "revocation_endpoint": oauth_address(base_url, tenant, "revoke"),
        "management_endpoint": management(base_url, tenant),
        "token_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_methods_supported": METHODS[1:],
        "revocation_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "grant_types_supported": GRANT_TYPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": pkce.METHODS,
        "authorization_response_iss_parameter_supported": True,
        "scopes_supported": SCOPES,
    }


def oauth_uris(base_url: str, tenant: Tenant) -> dict[str, str]:
    """Return the addresses for the oauth-uris extension of /metadata, which some clients know alone."""
    names = ("authorize", "token", "introspect", "revoke")
    return {name: oauth_address(base_url, tenant, name) for name in names} | {"manage": management(base_url, tenant)}


def management(base_url: str, tenant: Tenant) -> str:
    """Return the page on which people see what they have given to apps, and take it back."""
    return f"{base_url}/{tenant.name}/apps"
