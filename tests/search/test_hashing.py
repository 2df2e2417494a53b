"""Keys of the index: 64 bits, secret, of one tenant and one parameter. https://www.rfc-editor.org/rfc/rfc7693"""

from __future__ import annotations

import pytest

from conformance.structures import STORABLE
from fhir_server.search.hashing import Hasher, param_id
from fhir_server.search.kinds import long_param_id
from tests.search.world import hasher, registry


def test_a_key_is_a_signed_number_of_64_bits() -> None:
    keys = [hasher().token(1, "Patient", "identifier", "s", str(number)) for number in range(200)]
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert any(key < 0 for key in keys)
    assert len(set(keys)) == 200


def test_a_key_folds_in_tenant_type_parameter_system_and_code() -> None:
    first = hasher().token(1, "Patient", "identifier", "s", "c")
    others = [
        hasher().token(2, "Patient", "identifier", "s", "c"),
        hasher().token(1, "Person", "identifier", "s", "c"),
        hasher().token(1, "Patient", "gender", "s", "c"),
        hasher().token(1, "Patient", "identifier", "t", "c"),
        hasher().token(1, "Patient", "identifier", "s", "d"),
        hasher().token(1, "Patient", "identifier", None, "c"),
        hasher().token(1, "Patient", "identifier", "", "c"),
        hasher().token(1, "Patient", "identifier", "s", None),
        hasher().token(1, "Patient", "identifier", "sc", ""),
        hasher().uri(1, "Patient", "identifier", "s"),
    ]
    assert len({first, *others}) == len(others) + 1


def test_the_same_value_has_another_key_under_another_secret() -> None:
    assert Hasher(b"one").self_key(1, "Patient", "a") != Hasher(b"two").self_key(1, "Patient", "a")


def test_the_same_secret_gives_the_same_keys_after_a_restart() -> None:
    assert Hasher(b"one").self_key(1, "Patient", "a") == Hasher(b"one").self_key(1, "Patient", "a")


def test_a_key_does_not_change_between_versions_of_the_software() -> None:
    known = Hasher(b"fixed")
    assert known.self_key(1, "Patient", "a") == 2808583747626675813
    assert known.token(1, "Patient", "identifier", "s", "c") == -3087049193566347039
    assert param_id("Patient", "name") == 1103083231


def test_hashing_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        Hasher(b"")


def test_a_references_key_and_its_salt_give_the_key_of_the_target() -> None:
    key = hasher().reference(1, "Observation", "subject", "Patient", "a")
    assert key ^ hasher().salt(1, "Observation", "subject") == hasher().self_key(1, "Patient", "a")


def test_no_two_parameters_of_r4_share_a_number_in_the_narrow_tables() -> None:
    numbers: dict[int, tuple[str, str]] = {}
    for name in STORABLE:
        for code, param in registry().for_type(name).items():
            if param.kind not in ("date", "string", "number", "quantity"):
                continue
            both = [param_id(name, code)]
            if param.kind == "date":
                both.append(long_param_id(name, code))
            for number in both:
                assert -(2**31) <= number < 2**31
                assert numbers.setdefault(number, (name, code)) == (name, code)
    assert len(numbers) > 500
