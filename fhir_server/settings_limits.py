"""Settings that bound requests and searches: size, depth, count and time."""

from __future__ import annotations

from typing import Literal

from fhir_server.settings_basic import BasicSettings
from fhir_server.settings_row import row


class LimitSettings(BasicSettings):
    """The bounds of requests."""

    max_body_bytes: int = row(16 << 20, "Largest HTTP request body; a larger one gets 413.", unit="bytes", ge=1024)
    compress_from_bytes: int = row(
        1024, "Answers of so many bytes and more are sent as gzip to clients that take it; 0 packs none.", ge=0
    )
    request_timeout: float = row(
        60.0, "Longest time for a request, and for the coming of its body; then it gets 503.", unit="s", gt=0
    )
    max_requests: int = row(
        1000, "Most FHIR requests under way in one HTTP process; more get 503.", unit="requests", ge=1
    )
    max_header_bytes: int = row(
        64 << 10, "Largest head of a request, about; a larger one gets 431.", unit="bytes", ge=4096
    )
    header_timeout: float = row(
        20.0, "How long the head of a request may take to come; then the connection is closed.", unit="s", gt=0
    )
    max_url_bytes: int = row(
        32 << 10, "Longest path and query of a request; a longer one gets 414.", unit="bytes", ge=1024
    )
    max_form_bytes: int = row(
        1 << 20, "Largest form of a `POST _search`; a larger one gets 413.", unit="bytes", ge=1024
    )
    max_json_depth: int = row(
        100,
        "Deepest nesting of a JSON body; a deeper one gets 413. No resource may be deeper than 100 levels.",
        unit="levels",
        ge=8,
        le=200,
    )
    max_bundle_entries: int = row(10_000, "Most entries of a batch or transaction; more get 413.", unit="entries", ge=1)
    max_bundle_answer_bytes: int = row(
        64 << 20, "Once a bundle's answers are as large, its further reads get 413.", unit="bytes", ge=1024
    )
    max_locks: int = row(
        10_000, "Most identifiers and ids that one write names; more get 413.", unit="keys", ge=1, le=1_000_000
    )
    max_binary_bytes: int = row(
        100 << 20, "Largest content of a Binary sent as it is; a larger one gets 413.", unit="bytes", ge=1024
    )
    object_grace: float = row(
        86_400.0,
        "How long a content waits for the write it was sent for before it is taken away; no write may take longer.",
        unit="s",
        ge=3600,
    )
    default_page_size: int = row(20, "Entries of a page of a search or history without `_count`.", unit="entries", ge=1)
    max_page_size: int = row(1000, "Most entries of a page; a larger `_count` is lowered to it.", unit="entries", ge=1)
    if_match_required: bool = row(False, "Refuse an update of an existing resource without `If-Match` (412).")
    max_conditional_delete: int = row(
        1, "Most resources that one conditional delete may delete; more matches are refused (412).", ge=1, le=10_000
    )
    unknown_parameter: Literal["strict", "lenient"] = row(
        "strict",
        "What a search does with an unknown parameter, unless `Prefer: handling` says: refuse it or ignore it.",
    )
    max_parameters: int = row(100, "Most parameters of a search; more get 400.", unit="parameters", ge=1)
    max_filters: int = row(
        20,
        "Most parameters of a search that filter; more get 400. Planning takes time that grows with their square.",
        unit="parameters",
        ge=1,
        le=100,
    )
    max_search_values: int = row(
        2000, "Most values of a search, alternatives behind commas counted; more get 400.", unit="values", ge=1
    )
    max_includes: int = row(50, "Most `_include` and `_revinclude` of a search; more get 400.", ge=0)
    max_chain_links: int = row(
        64, "Most links of a search's chains, each type that a link branches to counted; more get 400.", ge=1
    )
    max_sorts: int = row(8, "Most search parameters that one search is sorted by; more get 400.", ge=1)
    exact_total: int = row(
        1000, "With `_total=estimate`, a search expected to find no more than this is counted.", unit="resources", ge=0
    )
    max_chain_types: int = row(
        20, "Most types that a link may lead to without naming one; more get 400.", unit="types", ge=1
    )
    max_chain_targets: int = row(
        5000, "Most resources that one link of a chained search may lead to; more get 400.", unit="resources", ge=1
    )
    max_included: int = row(
        1000, "Most resources that one page includes beside its matches; the rest is left out and told.", ge=1
    )
    max_latest: int = row(
        20_000,
        "Most resources of one patient that $lastn and $docref look through; more get 400.",
        unit="resources",
        ge=1,
    )
    max_sorted: int = row(
        100_000,
        "Most matches of a search that is sorted by a token or reference, of which bodies tell; more get 400.",
        unit="resources",
        ge=1,
    )
    max_expansion: int = row(
        10_000, "Most codes of a value set or hierarchy that a search asks for; more get 400.", unit="codes", ge=1
    )
    max_words: int = row(
        5000, "Different words of one resource that full text search knows; the rest are not found.", ge=0
    )
    kept_codes: int = row(
        500_000, "Codes of value sets and code systems that each process keeps worked out.", unit="codes", ge=0
    )
    max_search_parameters: int = row(
        500, "Most search parameters of its own that a tenant has; each costs every write of its type.", ge=0
    )
    index_batch: int = row(
        200, "Resources that a worker indexes anew in one transaction.", unit="resources", ge=1, le=10_000
    )
    vacuum_after_load: int = row(
        10_000, "`concord load` vacuums and analyses at its end when it loaded as many.", unit="resources", ge=1
    )
