"""Which strings of a bundle's entry are references, and which only look like them."""

from __future__ import annotations

import json

import pytest

from fhir_server.interactions.link import Links

URL = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
LINKS = {URL: "Patient/7"}


@pytest.mark.parametrize(
    "element",
    [
        {"subject": {"reference": URL}},
        {"extension": [{"url": "http://e", "valueReference": {"reference": URL}}]},
        {"extension": [{"url": "http://e", "valueUri": URL}]},
        {"instantiatesUri": [URL]},
        {"content": [{"attachment": {"url": URL}}]},
    ],
)
def test_a_reference_uri_or_url_is_rewritten(element: dict[str, object]) -> None:
    assert "Patient/7" in Links(LINKS).rewrite(json.dumps(element).encode()).decode()
    assert URL.encode() not in Links(LINKS).rewrite(json.dumps(element).encode())


@pytest.mark.parametrize(
    "element",
    [
        {"identifier": [{"value": URL}]},
        {"valueString": URL},
        {"display": URL},
        {"valueUuid": URL},
        {"questionnaire": URL},
        {"extension": [{"url": "http://e", "valueCanonical": URL}]},
        {"instantiatesCanonical": [URL]},
        {"meta": {"profile": ["http://example.org/p", URL]}},
    ],
)
def test_a_value_that_equals_a_full_url_stays(element: dict[str, object]) -> None:
    text = json.dumps(element).encode()
    assert Links(LINKS).rewrite(text) == text


def test_links_in_the_narrative_are_rewritten() -> None:
    text = json.dumps({"text": {"div": f'<div><a href="{URL}">x</a><img src="{URL}"/></div>'}}).encode()
    assert URL.encode() not in Links(LINKS).rewrite(text)


def test_an_unknown_urn_and_all_other_text_stay_byte_for_byte() -> None:
    text = b'{ "a" : "urn:uuid:other" , "value": 1.500, "s": "q\\"' + URL.encode() + b'" }'
    assert Links(LINKS).rewrite(text) == text


def test_a_full_url_on_the_web_is_a_reference_only_where_it_stands_as_one() -> None:
    canonical = "http://example.org/ValueSet/v"
    text = json.dumps({"url": canonical, "basedOn": [{"reference": canonical}]}).encode()
    out = json.loads(Links({canonical: "ValueSet/9"}).rewrite(text))
    assert out == {"url": canonical, "basedOn": [{"reference": "ValueSet/9"}]}
