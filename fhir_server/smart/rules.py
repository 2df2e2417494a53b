"""What the permission tree is made with, whoever asks."""

from __future__ import annotations

import msgspec

from conformance.search_params import Registry
from fhir_server.search.hashing import Hasher


class Rules(msgspec.Struct, frozen=True):
    """What the permission tree is made with; `registry` is R4's, for a tenant's own parameters may change."""

    hasher: Hasher
    registry: Registry
