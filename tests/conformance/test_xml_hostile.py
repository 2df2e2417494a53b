"""XML that is wrong or meant to harm is refused, each problem with its path and line. http://hl7.org/fhir/R4/xml.html"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.issue import Issue
from conformance.primitives import MAX_DEPTH
from conformance.structures import Refused, decode
from conformance.xml_read import MAX_ISSUES, to_json
from conformance.xml_write import to_xml
from tests.conformance.examples import unhurried

PIECES = [
    b"",
    b"<",
    b">",
    b"/>",
    b'"',
    b"&",
    b"&#0;",
    b"<a>",
    b"<id/>",
    b"</text>",
    b"<div/>",
    b"]]>",
    b"<!--",
    b"-->",
    b"<?x?>",
]
PIECES += [
    b"<![CDATA[",
    b"<!DOCTYPE a>",
    b"\xff",
    b"\0",
    b" xmlns=''",
    b" value='1'",
    b"<Patient>",
    b"f:",
    b"\xef\xbb\xbf",
]
WHOLE = b"""<?xml version="1.0"?><f:Patient xmlns:f="http://hl7.org/fhir" xmlns="http://www.w3.org/1999/xhtml">
<f:id value="a"/><f:text><f:status value="generated"/><div title="a &gt; b"><p>x<br/></p></div></f:text>
<f:contained><f:Basic><f:id value="b"/><f:code><f:text value="c"/></f:code></f:Basic></f:contained>
<f:extension url="u"><f:valueDecimal value="1.0"/></f:extension><f:active value="true"/><f:name id="n">
<f:given value="A"/><f:given><f:extension url="v"><f:valueCode value="c"/></f:extension></f:given>
</f:name></f:Patient>"""
FHIR = 'xmlns="http://hl7.org/fhir"'


def patient(inside: str) -> str:
    """Return a Patient with this inside on its second line."""
    return f"<Patient {FHIR}>\n{inside}\n</Patient>"


def refusal(text: str | bytes) -> list[Issue]:
    """Return the problems for which a document is refused."""
    with pytest.raises(Refused) as refused:
        to_json(text.encode() if isinstance(text, str) else text)
    return refused.value.issues


@pytest.mark.parametrize(
    ("inside", "path", "words"),
    [
        ('<nickname value="x"/>', "Patient.nickname", "'nickname' is not an element of Patient"),
        ('<names value="x"/>', "Patient.names", "did you mean 'name'?"),
        ('<name><famly value="x"/></name>', "Patient.name[0].famly", "did you mean 'family'?"),
        ('<name/><name><text value="a" b="c"/></name>', "Patient.name[1].text", "attribute 'b'"),
        ('<name value="x"/>', "Patient.name[0]", "attribute 'value'"),
        ('<name><id value="x"/></name>', "Patient.name[0].id", "attribute here, not an element"),
        ('<name xml:id="x"><text value="a"/></name>', "Patient.name[0]", "may not stand here"),
        ('<name id=""><text value="a"/></name>', "Patient.name[0]", "'id' is empty"),
        ('<birthDate value=""/>', "Patient.birthDate", "'value' is empty"),
        ("<birthDate/>", "Patient.birthDate", "neither a value nor an extension"),
        ("<name/>", "Patient.name[0]", "is empty"),
        ("<contained/>", "Patient.contained[0]", "is empty"),
        ('<birthDate value="1990"/><gender value="male"/>', "Patient.gender", "must stand before birthDate"),
        ('<gender value="male"/><gender value="male"/>', "Patient.gender", "more than once"),
        (
            '<name><text value="a"/></name><gender value="male"/><name><text value="b"/></name>',
            "Patient.name",
            "before",
        ),
        (
            '<deceasedBoolean value="true"/><deceasedDateTime value="2020"/>',
            "Patient.deceased",
            "choice deceased[x] is given more than once: deceasedBoolean, deceasedDateTime",
        ),
        ('<active value="1"/>', "Patient.active", "'1' is not a valid boolean"),
        ('<multipleBirthInteger value="1.0"/>', "Patient.multipleBirth", "not a valid integer"),
        ('<multipleBirthInteger value="1,2"/>', "Patient.multipleBirth", "not a valid integer"),
        ('<extension url="a"><valueDecimal value="1}"/></extension>', "Patient.extension[0].value", "valid decimal"),
        ('<extension url="a"><valueDecimal value="+1"/></extension>', "Patient.extension[0].value", "valid decimal"),
        ('<extension url="a"><valueDecimal value="NaN"/></extension>', "Patient.extension[0].value", "valid decimal"),
        ("words", "Patient", "The text 'words' stands between the elements"),
        ("\u00a0", "Patient", "stands between the elements"),
        ('<gender xmlns="" value="male"/>', "Patient", "not of the namespace http://hl7.org/fhir"),
        ('<name><id xmlns="" value="x"/></name>', "Patient.name[0]", "not of the namespace http://hl7.org/fhir"),
        ('<p xmlns="http://www.w3.org/1999/xhtml"/>', "Patient", "not of the namespace http://hl7.org/fhir"),
        ("<text><div>x</div></text>", "Patient.text", "not of the namespace http://www.w3.org/1999/xhtml"),
        ("<contained><Nonsense/></contained>", "Patient.contained[0]", "'Nonsense' is not a resource type"),
        (
            '<contained><Basic><id value="1"/></Basic><Basic/></contained>',
            "Patient.contained[0]",
            "another has come before",
        ),
        ('<id value="1"><extension url="a"/></id>', "Patient.id", "only a value"),
        ('<id value="1" id="2"/>', "Patient.id", "attribute 'id'"),
    ],
)
def test_what_may_not_stand_there_is_refused_with_path_and_line(inside: str, path: str, words: str) -> None:
    issues = refusal(patient(inside))
    found = [issue for issue in issues if words in issue.diagnostics]
    assert found, issues
    assert found[0].expression == (path,)
    assert "(line 2)" in found[0].diagnostics or "(line 3)" in found[0].diagnostics


def test_the_line_is_the_one_where_the_element_begins() -> None:
    (issue,) = refusal(f'<Patient {FHIR}>\n<id value="1"/>\n\n  <foo value="1">\n<bar/></foo>\n</Patient>')
    assert "line 4" in issue.diagnostics


def test_every_problem_is_told_in_one_answer_up_to_a_limit() -> None:
    two = refusal(patient('<foo/><name><bar/></name><gender value="male" x="y"/>'))
    assert [issue.expression[0] for issue in two][:3] == ["Patient.foo", "Patient.name[0].bar", "Patient.name[0]"]
    assert len(refusal(patient("<foo/>" * 1000))) == MAX_ISSUES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not well-formed"),
        ("{}", "not well-formed"),
        (f"<Patient {FHIR}><id></Patient>", "not well-formed"),
        (f"<Patient {FHIR}/><Patient {FHIR}/>", "not well-formed"),
        (f"<Patient {FHIR}>&nbsp;</Patient>", "not well-formed"),
        (f"<Patient {FHIR}><id value='1' value='2'/></Patient>", "not well-formed"),
        (f"<Patient {FHIR}><id value='&#0;'/></Patient>", "not well-formed"),
        (f"<Patient {FHIR}><f:id value='1'/></Patient>", "not well-formed"),
        (b"<Patient xmlns='http://hl7.org/fhir'><id value='\xff'/></Patient>", "not UTF-8"),
        (f"<Patient {FHIR}/>".encode("utf-16"), "not UTF-8"),
        (f"<Patient {FHIR}/>".encode("utf-16-le"), "not UTF-8"),
        (f"<Patient {FHIR}/>".encode("utf-32-be"), "not UTF-8"),
        (f"<?xml version='1.0' encoding='ISO-8859-1'?><Patient {FHIR}/>", "not XML 1.0 in UTF-8"),
        (f"<?xml version='1.1'?><Patient {FHIR}/>", "XML"),
        ("<Patient/>", "not of the namespace"),
        ('<Patient xmlns="http://hl7.org/fhir/"/>', "not of the namespace"),
        (f"<Nonsense {FHIR}/>", "not a resource type"),
        (f"<patient {FHIR}/>", "not a resource type"),
    ],
)
def test_what_is_no_resource_in_xml_is_refused(text: str | bytes, words: str) -> None:
    assert words in refusal(text)[0].diagnostics


@unhurried
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE)), st.sampled_from(PIECES), st.integers(0, 6)), min_size=1, max_size=4)
)
def test_a_document_that_was_tampered_with_is_refused_or_comes_back_as_it_was(
    changes: list[tuple[int, bytes, int]],
) -> None:
    data = WHOLE
    for place, piece, gone in changes:
        data = data[:place] + piece + data[place + gone :]
    with suppress(Refused):
        found = to_json(data)
        decode("Patient", found)
        assert to_json(to_xml(found)) == found


@pytest.mark.parametrize(
    "kind",
    [
        '<!DOCTYPE Patient [<!ENTITY a "x">]>',
        '<!DOCTYPE Patient [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE Patient SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE Patient [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]>',
        "<!DOCTYPE Patient>",
    ],
)
def test_a_document_type_is_refused_before_it_is_read(kind: str) -> None:
    (issue,) = refusal(f'{kind}<Patient {FHIR}><id value="&a;"/></Patient>')
    assert "document type" in issue.diagnostics


def test_a_bomb_of_entities_does_not_grow() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 30))
    (issue,) = refusal(f'<!DOCTYPE p [<!ENTITY e0 "x">{entities}]><Patient {FHIR}><id value="&e29;"/></Patient>')
    assert "document type" in issue.diagnostics


def test_elements_nested_too_deep_are_refused() -> None:
    depth = 100_000
    nested = '<extension url="a">' * depth + "</extension>" * depth
    (issue,) = refusal(patient(nested))
    assert issue.code == "too-long"
    contained = "<contained><Patient>" * depth + "</Patient></contained>" * depth
    assert refusal(patient(contained))[0].code == "too-long"


def test_more_prefixes_than_anybody_needs_are_refused() -> None:
    many = " ".join(f'xmlns:p{n}="http://p"' for n in range(100))
    (issue,) = refusal(f'<Patient {FHIR} {many}><id value="1"/></Patient>')
    assert issue.code == "too-costly"
    one_by_one = "".join(f'<foo xmlns:p{n}="http://p"/>' for n in range(100))
    assert refusal(patient(one_by_one))[-1].code == "too-costly"


def test_the_deepest_resource_there_may_be_comes_back_as_it_was() -> None:
    levels = MAX_DEPTH - 2
    nested = '{"url":"a","extension":[' * levels + '{"url":"a","valueCode":"x"}' + "]}" * levels
    data = b'{"resourceType":"Patient","extension":[%b]}' % nested.encode()
    decode("Patient", data)
    for pretty in (False, True):
        assert to_json(to_xml(data, pretty=pretty)) == data


def test_what_is_passed_over_may_be_as_deep_as_it_likes() -> None:
    depth = 100_000
    (issue,) = refusal(patient("<foo>" * depth + "</foo>" * depth))
    assert "'foo' is not an element" in issue.diagnostics
