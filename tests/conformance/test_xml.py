"""XML and JSON say the same, to the digit and the comment in a narrative. http://hl7.org/fhir/R4/xml.html"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.r4.types import TYPE_CODES
from conformance.structures import Refused, decode
from conformance.xml_read import to_json
from conformance.xml_slots import Slot, slots
from conformance.xml_write import to_xml
from tests.conformance.examples import unhurried

DIV = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><!-- a > b --><p title='x'>&#160;é &lt;\r\n<br /></p><br></br></div>"
OBSERVATION = """<?xml version="1.0" encoding="UTF-8"?>
<Observation xmlns="http://hl7.org/fhir">
  <id value="o1"/>
  <meta>
    <versionId value="3"/>
  </meta>
  <text>
    <status value="generated"/>
    DIV
  </text>
  <contained>
    <Patient>
      <id value="p"/>
      <name id="n">
        <family value="Ångström &amp; &lt;Söhne&gt; &quot;x&quot;"/>
        <given value="A">
          <extension url="http://e">
            <valueDecimal value="1.500"/>
          </extension>
        </given>
        <given>
          <extension url="http://absent">
            <valueCode value="unknown"/>
          </extension>
        </given>
        <given value="C"/>
      </name>
      <multipleBirthInteger value="2"/>
    </Patient>
  </contained>
  <status value="final"/>
  <code>
    <text value="a&#10;b&#9;c&#13;d"/>
  </code>
  <effectiveDateTime id="e" value="2020-01-01"/>
  <issued>
    <extension url="http://absent">
      <valueBoolean value="true"/>
    </extension>
  </issued>
  <valueQuantity>
    <value value="-0.00"/>
    <unit value="mg"/>
  </valueQuantity>
</Observation>
""".replace("DIV", DIV)
SAME: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "meta": {"versionId": "3"},
    "text": {"status": "generated", "div": DIV},
    "contained": [
        {
            "resourceType": "Patient",
            "id": "p",
            "name": [
                {
                    "id": "n",
                    "family": 'Ångström & <Söhne> "x"',
                    "given": ["A", None, "C"],
                    "_given": [
                        {"extension": [{"url": "http://e", "valueDecimal": "1.500"}]},
                        {"extension": [{"url": "http://absent", "valueCode": "unknown"}]},
                        None,
                    ],
                }
            ],
            "multipleBirthInteger": "2",
        }
    ],
    "status": "final",
    "code": {"text": "a\nb\tc\rd"},
    "effectiveDateTime": "2020-01-01",
    "_effectiveDateTime": {"id": "e"},
    "_issued": {"extension": [{"url": "http://absent", "valueBoolean": True}]},
    "valueQuantity": {"value": "-0.00", "unit": "mg"},
}


def told(data: bytes) -> Any:
    """Return JSON with each number as its own text."""
    return json.loads(data, parse_int=str, parse_float=str)


def test_xml_becomes_the_json_that_says_the_same() -> None:
    assert told(to_json(OBSERVATION.encode())) == SAME


def test_json_becomes_xml_with_the_elements_in_order_and_the_narrative_as_it_was() -> None:
    assert to_xml(to_json(OBSERVATION.encode()), pretty=True).decode() == OBSERVATION


def test_xml_that_is_not_pretty_has_no_blanks_between_elements() -> None:
    lean = to_xml(to_json(OBSERVATION.encode())).decode().replace(DIV, "")
    assert "\n" not in lean
    assert "> <" not in lean
    assert told(to_json(to_xml(to_json(OBSERVATION.encode())))) == SAME


def test_members_in_any_order_are_written_in_the_order_of_the_specification() -> None:
    data = b'{"birthDate":"1990","name":[{"text":"a"}],"resourceType":"Patient","active":true,"id":"1"}'
    names = [child.tag.rpartition("}")[2] for child in ElementTree.fromstring(to_xml(data))]
    assert names == ["id", "active", "name", "birthDate"]


def test_a_reader_of_xml_at_large_reads_what_is_written() -> None:
    root = ElementTree.fromstring(to_xml(to_json(OBSERVATION.encode())))
    fhir = "{http://hl7.org/fhir}"
    assert root.tag == f"{fhir}Observation"
    code = root.find(f"{fhir}code/{fhir}text")
    assert code is not None
    assert code.get("value") == "a\nb\tc\rd"
    family = root.find(f"{fhir}contained/{fhir}Patient/{fhir}name/{fhir}family")
    assert family is not None
    assert family.get("value") == 'Ångström & <Söhne> "x"'


def test_an_element_may_be_named_as_the_member_that_names_a_type() -> None:
    data = b'{"resourceType":"ExampleScenario","instance":[{"resourceId":"1","resourceType":"Patient"}]}'
    assert b'<resourceType value="Patient"/>' in to_xml(data)
    assert told(to_json(to_xml(data))) == told(data)


def test_a_character_that_xml_cannot_say_is_replaced() -> None:
    written = to_xml(json.dumps({"resourceType": "Basic", "language": "a\uffffb"}).encode())
    assert told(to_json(written))["language"] == "a\ufffdb"


@pytest.mark.parametrize(
    "text",
    [
        '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p>x</h:p></h:div>',
        '<div xmlns="http://www.w3.org/1999/xhtml"/>',
        '<div xmlns="http://www.w3.org/1999/xhtml" title="a > b"><br/></div>',
        "<div xmlns='http://www.w3.org/1999/xhtml'>x</div >",
    ],
)
def test_a_narrative_keeps_its_own_spelling(text: str) -> None:
    data = json.dumps({"resourceType": "Basic", "text": {"status": "empty", "div": text}}).encode()
    assert told(to_json(to_xml(data))) == told(data)


@pytest.mark.parametrize("before", ["\ufeff", "<?xml version='1.0'?>", " \n", "<!-- a -->"])
def test_what_stands_before_a_narrative_is_left_out(before: str) -> None:
    text = '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'
    resource = {"resourceType": "Basic", "code": {"text": "c"}, "text": {"status": "empty", "div": before + text}}
    data = json.dumps(resource).encode()
    decode("Basic", data)
    assert told(to_json(to_xml(data)))["text"]["div"] == text


def test_a_narrative_takes_along_the_namespaces_declared_around_it() -> None:
    data = (
        b'<f:Basic xmlns:f="http://hl7.org/fhir" xmlns="http://www.w3.org/1999/xhtml" xmlns:h="http://www.w3.org/1999/xhtml">'
        b'<f:text><f:status value="generated"/><div class="a">x<h:b>y</h:b></div></f:text><f:code/></f:Basic>'
    ).replace(b"<f:code/>", b'<f:code><f:text value="c"/></f:code>')
    found = to_json(data)
    div = (
        '<div xmlns="http://www.w3.org/1999/xhtml" xmlns:h="http://www.w3.org/1999/xhtml" class="a">x<h:b>y</h:b></div>'
    )
    assert told(found)["text"]["div"] == div
    decode("Basic", found)


def test_comments_instructions_and_the_place_of_a_schema_are_passed_over() -> None:
    data = b"""\xef\xbb\xbf<?xml version="1.0"?><?style x?><!-- a --><Basic xmlns="http://hl7.org/fhir"
      xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://hl7.org/fhir x.xsd">
      <!-- b --><id value="1"/></Basic>"""
    assert told(to_json(data)) == {"resourceType": "Basic", "id": "1"}


# ---- any resource -----------------------------------------------------------------------------------------------


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters="\t\n\r"), min_size=1)
texts = texts.filter(lambda text: "\ufffe" not in text and "\uffff" not in text)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=5).map(str).filter(lambda text: "E" not in text)
values: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "decimal": st.one_of(numbers, st.sampled_from(["1E-9", "1.50e+10", "0.0000000000001", "-0.0"])).map(
        lambda digits: msgspec.Raw(digits.encode())
    ),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "xhtml": st.just(DIV),
}


@st.composite
def groups(draw: st.DrawFn, group: str, depth: int = 0) -> dict[str, Any]:
    """Return members of a group: at least one, but for a resource, of each choice one form."""
    known = [slot for slot in slots(group).values() if depth < 4 or slot.kind not in ("group", "resource")]
    chosen = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique_by=lambda slot: slot.order))
    found: dict[str, Any] = {}
    for slot in chosen:
        found |= draw(members(slot, depth + 1))
    return found


@st.composite
def members(draw: st.DrawFn, slot: Slot, depth: int) -> dict[str, Any]:
    """Return a slot's member, of a primitive also its companion."""
    if slot.kind in ("group", "resource"):
        value = groups(slot.group, depth) if slot.kind == "group" else resources(depth)
        return {slot.name: draw(st.lists(value, min_size=1, max_size=2) if slot.repeats else value)}
    value = st.text("ab:/", min_size=1) if slot.attribute else values[slot.kind]
    if not slot.group:
        return {slot.name: draw(value)}
    pairs = draw(st.lists(st.tuples(st.none() | value, st.none() | groups("Element", depth)), min_size=1, max_size=3))
    pairs = [pair for pair in pairs if pair != (None, None)] or [(draw(value), None)]
    if not slot.repeats:
        pairs = pairs[:1]
        return {n: v for n, v in zip((slot.name, f"_{slot.name}"), pairs[0], strict=True) if v is not None}
    columns = zip((slot.name, f"_{slot.name}"), map(list, zip(*pairs, strict=True)), strict=True)
    return {name: column for name, column in columns if any(item is not None for item in column)}


@st.composite
def resources(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """Return a resource of any type, its values free, its shape that of the specification."""
    name = draw(st.sampled_from(sorted(TYPE_CODES)))
    return {"resourceType": name} | draw(groups(name, depth))


@unhurried
@given(resources(), st.booleans())
def test_any_resource_comes_back_from_xml_as_it_was(resource: dict[str, Any], pretty: bool) -> None:
    data = msgspec.json.encode(resource)
    assert told(to_json(to_xml(data, pretty=pretty))) == told(data)


@unhurried
@given(st.binary())
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(Refused):
        to_json(data)
