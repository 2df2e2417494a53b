"""The specification's own resources, and Synthea's, come back from XML as they were. http://hl7.org/fhir/R4/xml.html"""

from __future__ import annotations

import json
from typing import Any

from conformance.xml_read import to_json
from conformance.xml_write import to_xml
from tests.conformance.examples import package_resources, synthea_bundles


def told(data: bytes) -> Any:
    """Return JSON with each number as its own text."""
    return json.loads(data, parse_int=str, parse_float=str)


def test_every_resource_of_the_specifications_package_comes_back_from_xml_as_it_was() -> None:
    changed = [name for name, data in package_resources() if told(to_json(to_xml(data))) != told(data)]
    assert changed == []


def test_every_synthea_bundle_comes_back_from_xml_as_it_was() -> None:
    assert [name for name, data in synthea_bundles() if told(to_json(to_xml(data))) != told(data)] == []
