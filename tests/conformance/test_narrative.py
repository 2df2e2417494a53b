"""A narrative is XHTML of the allowed kind and runs nothing. http://hl7.org/fhir/R4/narrative.html"""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.narrative import problem
from conformance.structures import Refused, decode
from tests.conformance.examples import unhurried

OPEN = '<div xmlns="http://www.w3.org/1999/xhtml">'


def div(inside: str) -> str:
    """Return a narrative with this inside."""
    return f"{OPEN}{inside}</div>"


@pytest.mark.parametrize(
    "text",
    [
        div("plain &amp; simple &#233; é"),
        div('<table class="grid" border="1"><tbody><tr><td colspan="2">1</td></tr></tbody></table>'),
        div('<p style="color: red" title="a > b" lang="en" xml:lang="en"><b>x</b><br/><hr/></p>'),
        div('<a href="http://a">x</a><a name="y"/><img src="data:image/png;base64,QUJD" alt="z"/>'),
        div("<!-- a note --><ul><li>x</li></ul>"),
        '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p>x</h:p></h:div>',
        "<?xml version='1.0' encoding='UTF-8'?>" + div("x"),
    ],
)
def test_basic_xhtml_is_taken(text: str) -> None:
    assert problem(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "well-formed"),
        ("plain", "well-formed"),
        (div("<p>x"), "well-formed"),
        (div("&nbsp;"), "well-formed"),
        (div("x") + div("y"), "well-formed"),
        ("<div>x</div>", "namespace"),
        ('<p xmlns="http://www.w3.org/1999/xhtml">x</p>', "must be a div"),
        (div("<script>alert(1)</script>"), "'script'"),
        (div('<svg xmlns="http://www.w3.org/2000/svg"/>'), "namespace"),
        (div("<form/>"), "'form'"),
        (div("<iframe/>"), "'iframe'"),
        (div('<p onclick="x()">x</p>'), "'onclick'"),
        (div('<img src="x" onerror="y()"/>'), "'onerror'"),
        (div('<a href="javascript:x()">x</a>'), "link"),
        (div('<a href=" java&#10;script&#58;x()">x</a>'), "link"),
        (div('<a href="&#9;JAVASCRIPT&#13;:x()">x</a>'), "link"),
        (div('<a href="data:text/html,x">x</a>'), "link"),
        (div('<a href="vbscript:x">x</a>'), "link"),
        (div('<img src="data:image/svg+xml,x"/>'), "link"),
        (div('<p style="width: expression(x)">x</p>'), "style"),
        (div('<p style="background: url(javascript:x)">x</p>'), "style"),
        (div("<?php x ?>"), "processing instruction"),
        (div("<![CDATA[><img src=x onerror=y()>]]>"), "CDATA"),
        (div("<!--> <script>x</script> -->"), "comment"),
        ("<!DOCTYPE div>" + div("x"), "document type"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + div("&b;"), "document type"),
    ],
)
def test_what_may_not_stand_in_a_narrative_is_refused_and_named(text: str, told: str) -> None:
    assert told in (problem(text) or "nothing is wrong")


def test_a_bomb_of_entities_is_refused_before_it_grows() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    begun = time.process_time()
    assert problem(f'<!DOCTYPE div [<!ENTITY e0 "x">{entities}]>{div("&e11;")}') is not None
    assert time.process_time() - begun < 10


def test_a_resource_with_a_bad_narrative_is_refused_at_its_place() -> None:
    text = {"status": "generated", "div": div("<script/>")}
    with pytest.raises(Refused) as refusal:
        decode("Patient", json.dumps({"resourceType": "Patient", "text": text}).encode())
    assert [issue.expression for issue in refusal.value.issues] == [("Patient.text.div",)]


@unhurried
@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert problem(text) is None or isinstance(problem(text), str)
    assert (problem(div("<b>" + text.replace("&", "").replace("<", "") + "</b>")) or "").endswith(("", ")"))
