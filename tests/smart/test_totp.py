"""One-time codes as RFC 6238 has them, each good once; another implementation gives the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.smart import totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    # Of the eight digits that the RFC's appendix B shows, the last six.
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_the_codes_are_those_of_the_rfcs_appendix(seconds: int, code: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    assert totp.code(SECRET, totp.step_of(now)) == code


@given(st.binary(min_size=14, max_size=40), st.integers(0, 2**31))
def test_the_codes_are_those_of_another_implementation(secret: bytes, step: int) -> None:
    spelled = totp.spelled(secret)
    app = pyotp.TOTP(spelled + "=" * (-len(spelled) % 8))
    assert totp.code(secret, step) == app.at(step * totp.SECONDS)


@given(st.integers(-3, 3), st.integers(0, 29))
def test_a_code_is_taken_of_this_step_and_its_neighbours_alone(away: int, into: int) -> None:
    now = datetime.fromtimestamp(1_700_000_010 + into, UTC)
    typed = totp.code(SECRET, totp.step_of(now) + away)
    found = totp.matched(SECRET, typed, now, 0)
    assert found == (totp.step_of(now) + away if abs(away) <= 1 else None)


def test_a_code_is_not_taken_twice_nor_an_earlier_one_after_it() -> None:
    now = datetime.fromtimestamp(1_700_000_000, UTC)
    used = totp.step_of(now)
    assert totp.matched(SECRET, totp.code(SECRET, used), now, used) is None
    assert totp.matched(SECRET, totp.code(SECRET, used - 1), now, used) is None
    later = now + timedelta(seconds=totp.SECONDS)
    assert totp.matched(SECRET, totp.code(SECRET, used + 1), later, used) == used + 1


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "½½½½½½", "\0", "0" * 10_000])
def test_what_is_no_code_matches_nothing(typed: str) -> None:
    assert totp.matched(SECRET, typed, datetime.fromtimestamp(1_700_000_000, UTC), 0) is None


def test_spaces_in_a_code_are_no_matter() -> None:
    now = datetime.fromtimestamp(1_700_000_000, UTC)
    code = totp.code(SECRET, totp.step_of(now))
    assert totp.matched(SECRET, f" {code[:3]} {code[3:]} ", now, 0) is not None


def test_an_app_reads_secret_account_and_issuer_from_the_address() -> None:
    address = totp.address(SECRET, "ada & bea@example.org", "Concord")
    read = pyotp.parse_uri(address)
    assert isinstance(read, pyotp.TOTP)
    assert (read.name, read.issuer, read.byte_secret()) == ("ada & bea@example.org", "Concord", SECRET)
    assert parse_qs(urlsplit(address).query)["issuer"] == ["Concord"]
