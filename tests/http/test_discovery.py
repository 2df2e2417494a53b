"""What apps find out before they ask: the well-known documents and the extension of /metadata say the same.

https://hl7.org/fhir/smart-app-launch/conformance.html
"""

from __future__ import annotations

import jwt
import pytest

from tests.apps import actor, app
from tests.fhir import Client
from tests.people import member

SMART, OPENID = "/.well-known/smart-configuration", "/.well-known/openid-configuration"
# Of the certification's two groups of tests, standalone and EHR launch.
WANTED = (
    "launch-standalone client-public client-confidential-symmetric client-confidential-asymmetric sso-openid-connect"
    " context-standalone-patient permission-offline permission-patient authorize-post permission-v2 permission-v1"
    " launch-ehr context-banner context-style context-ehr-patient permission-user context-ehr-encounter"
)


@pytest.mark.parametrize("path", [SMART, OPENID])
@pytest.mark.parametrize("accept", ["*/*", "application/fhir+xml", "text/html"])
async def test_discovery_is_json_for_everybody_whatever_they_accept(fhir: Client, path: str, accept: str) -> None:
    answer = await fhir.get(path, token=None, headers={"accept": accept, "origin": "https://any.example.org"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_the_smart_configuration_has_what_the_certification_asks_for(fhir: Client) -> None:
    found = (await fhir.get(SMART, token=None)).json()
    assert found["issuer"] == fhir.base
    assert set(WANTED.split()) <= set(found["capabilities"])
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert set(found["grant_types_supported"]) == {"authorization_code", "refresh_token", "client_credentials"}
    assert {"private_key_jwt", "client_secret_basic"} <= set(found["token_endpoint_auth_methods_supported"])
    assert found["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert {"openid", "fhirUser", "launch", "launch/patient", "offline_access"} <= set(found["scopes_supported"])
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        assert found[name].startswith(fhir.base.removesuffix("/fhir") + "/oauth/"), name


async def test_the_openid_configuration_is_the_issuers_and_names_rs256(fhir: Client) -> None:
    found = (await fhir.get(OPENID, token=None)).json()
    smart = (await fhir.get(SMART, token=None)).json()
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    assert (found["response_types_supported"], found["subject_types_supported"]) == (["code"], ["public"])
    assert {name: found[name] for name in found if name in smart} == {
        name: smart[name] for name in smart if name in found
    }


async def test_metadata_says_the_same_in_the_extension_that_some_clients_know_alone(fhir: Client) -> None:
    security = (await fhir.get("/metadata", token=None)).json()["rest"][0]["security"]
    (uris,) = security["extension"]
    assert uris["url"].endswith("/oauth-uris")
    told = {one["url"]: one["valueUri"] for one in uris["extension"]}
    found = (await fhir.get(SMART, token=None)).json()
    assert (told["authorize"], told["token"]) == (found["authorization_endpoint"], found["token_endpoint"])
    assert security["cors"] is True


async def test_the_key_set_verifies_access_and_id_tokens_and_holds_no_private_part(fhir: Client) -> None:
    person = actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")
    asking = await app(fhir, "symmetric")
    given = await asking.granted(person, "launch/patient openid fhirUser profile patient/*.rs", nonce="a nonce")
    uri = (await fhir.get(OPENID, token=None)).json()["jwks_uri"]
    keys = (await fhir.http.get(uri)).json()["keys"]
    assert not any({"d", "p", "q"} & set(key) for key in keys)
    assert {key["kty"] for key in keys} == {"EC", "RSA"}
    by_kid = {key["kid"]: jwt.PyJWK(key) for key in keys}
    access, identity = given["access_token"], given["id_token"]
    found = jwt.decode(
        access, by_kid[jwt.get_unverified_header(access)["kid"]], algorithms=["ES256"], audience=fhir.base
    )
    header = jwt.get_unverified_header(identity)
    assert header["alg"] == "RS256"
    claims = jwt.decode(
        identity, by_kid[header["kid"]], algorithms=["RS256"], audience=asking.client_id, issuer=fhir.base
    )
    assert claims["sub"] == found["sub"] == person.sub
    assert (claims["nonce"], claims["name"]) == ("a nonce", person.name)
    assert claims["fhirUser"] == f"{fhir.base}/Practitioner/eva"
    assert claims["exp"] > claims["iat"] >= claims["auth_time"]


async def test_an_id_token_tells_no_more_than_was_asked(fhir: Client) -> None:
    person = actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")
    asking = await app(fhir)
    given = await asking.granted(person, "openid")
    claims = jwt.decode(given["id_token"], options={"verify_signature": False})
    assert not {"fhirUser", "name", "nonce"} & set(claims)
    assert "patient" not in given
    assert "id_token" not in await asking.granted(person, "fhirUser patient/*.rs")
