"""What every interaction needs and app.py builds once: database, indexer, policy, limits."""

from __future__ import annotations

import msgspec

from conformance.search_params import Registry
from fhir_server.interactions.kept import Kept
from fhir_server.limits import Limits
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Indexer
from fhir_server.search.page import Pager
from fhir_server.search.seal import Seal
from fhir_server.store.database import Database
from fhir_server.store.objects import Objects
from fhir_server.store.resources import Loader, Rids


class Service(msgspec.Struct, frozen=True):
    """The parts of the server that interactions work with; no module keeps state of its own."""

    db: Database
    loader: Loader
    rids: Rids
    registry: Registry
    hasher: Hasher
    indexer: Indexer
    pager: Pager
    limits: Limits
    seal: Seal
    kept: Kept
    objects: Objects
