"""Security keys and passkeys as a second factor: what a browser is asked, and whether the answer was signed.

https://www.w3.org/TR/webauthn-2/
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
import webauthn
from webauthn.helpers import parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from fhir_server.smart.sessions import is_loopback, origin_of
from fhir_server.store.factors import Factor

_NAME = "Concord"
_LONGEST = 32_768


class Asked(msgspec.Struct, frozen=True):
    """What a browser is asked to do, as JSON, and the challenge that the answer must have signed."""

    options: str
    challenge: bytes


class Registered(msgspec.Struct, frozen=True):
    """A new credential that a key has made."""

    credential: bytes
    public_key: bytes
    counter: int


class Signed(msgspec.Struct, frozen=True):
    """The factor that signed a challenge, and its counter now."""

    factor: Factor
    counter: int


class SecurityKeys(msgspec.Struct, frozen=True):
    """The relying party: an installation at its public address."""

    base_url: str

    @property
    def host(self) -> str:
        """Return the relying party's id."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def usable(self) -> bool:
        """Tell whether browsers let keys be used here: at a name, and over TLS but for this machine itself."""
        return not _is_address(self.host) and (self.base_url.startswith("https:") or is_loopback(self.host))

    def to_register(self, person: int, email: str, name: str, owned: Sequence[Factor]) -> Asked:
        """Return what a browser is asked for a new key; one that is owned already is not taken again."""
        options = webauthn.generate_registration_options(
            rp_id=self.host, rp_name=_NAME, user_id=str(person).encode(), user_name=email, user_display_name=name,
            exclude_credentials=_described(owned),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.DISCOURAGED,
                user_verification=UserVerificationRequirement.DISCOURAGED,
            ),
        )  # fmt: skip
        return Asked(webauthn.options_to_json(options), options.challenge)

    def registered(self, answer: str, challenge: bytes) -> Registered | None:
        """Return the credential that a key has made for the challenge; None for any other answer."""
        if len(answer) > _LONGEST:
            return None
        try:
            made = webauthn.verify_registration_response(
                credential=answer, expected_challenge=challenge, expected_rp_id=self.host,
                expected_origin=origin_of(self.base_url),
            )  # fmt: skip
        except (WebAuthnException, ValueError, KeyError, TypeError):
            return None
        return Registered(made.credential_id, made.credential_public_key, made.sign_count)

    def to_sign(self, owned: Sequence[Factor]) -> Asked:
        """Return what a browser is asked, to be signed by one of these keys."""
        options = webauthn.generate_authentication_options(
            rp_id=self.host, allow_credentials=_described(owned),
            # The password came before: presence is what the key adds.
            user_verification=UserVerificationRequirement.DISCOURAGED,
        )  # fmt: skip
        return Asked(webauthn.options_to_json(options), options.challenge)

    def signed(self, answer: str, challenge: bytes, owned: Sequence[Factor]) -> Signed | None:
        """Return which of these keys has signed the challenge; None where none has, or a copy of one may have."""
        if len(answer) > _LONGEST:
            return None
        try:
            credential = parse_authentication_credential_json(answer)
            factor = next(f for f in owned if f.credential and f.credential == credential.raw_id)
            seen = webauthn.verify_authentication_response(
                credential=credential, expected_challenge=challenge, expected_rp_id=self.host,
                expected_origin=origin_of(self.base_url), credential_public_key=factor.public_key or b"",
                credential_current_sign_count=factor.counter,
            )  # fmt: skip
        except (WebAuthnException, StopIteration, ValueError, KeyError, TypeError):
            return None
        return Signed(factor, seen.new_sign_count)


def _described(owned: Sequence[Factor]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=f.credential) for f in owned if f.credential]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
