"""Property tests of search: the first example builds the registry, which no deadline must count."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("search", deadline=None)
settings.load_profile("search")
