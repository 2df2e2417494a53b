"""Distil the facts of FHIR R4 that Concord needs from the specification package into conformance/r4/*.json.

The package is hl7.fhir.r4.examples 4.0.1 (CC0), which holds the whole specification as resources:
http://hl7.org/fhir/R4/downloads.html

No prose is kept: names, cardinalities, types, targets, expressions and codes only. Run it again with the same package
and the files come out byte for byte the same.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

TARGET = Path(__file__).resolve().parent.parent / "conformance" / "r4"
STRUCTURE = "http://hl7.org/fhir/StructureDefinition/"
FHIR_TYPE = STRUCTURE + "structuredefinition-fhir-type"


def main(arguments: list[str] | None = None) -> None:
    """Read the package named on the command line and write the data files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="hl7.fhir.r4.examples-4.0.1.tgz")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write into (default: conformance/r4)")
    given = parser.parse_args(arguments)
    for name, text in distil(given.package).items():
        (given.target / name).write_text(text, encoding="utf-8")


def distil(package: Path) -> dict[str, str]:
    """Return the text of each data file, by file name."""
    resources = list(read_package(package))
    types = elements(resources)
    return {
        "search_params.json": lines_of_list(search_params(resources)),
        "compartments.json": lines_of_object(compartments(resources)),
        "elements.json": lines_of_object(types),
        "value_sets.json": lines_of_object(value_sets(resources, required_bindings(types))),
        "narrative.json": lines_of_object(narrative(resources)),
    }


def read_package(package: Path) -> Iterator[Json]:
    """Yield the conformance resources of the package, ordered by file name."""
    wanted = {"SearchParameter", "CompartmentDefinition", "StructureDefinition", "ValueSet", "CodeSystem"}
    with tarfile.open(package) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            name = member.name.rpartition("/")[2]
            content = archive.extractfile(member) if name.partition("-")[0] in wanted else None
            if content is not None:
                yield json.load(content)


def of_type(resources: Iterable[Json], resource_type: str) -> Iterator[Json]:
    """Yield the resources of one type."""
    return (r for r in resources if r["resourceType"] == resource_type)


# --- search parameters and compartments -----------------------------------------------------------------------------


def search_params(resources: Iterable[Json]) -> list[Json]:
    """Return the specification's own search parameters: the experimental ones are examples or of extension packs."""
    keep = ("url", "code", "base", "type", "expression", "target")
    found = []
    for parameter in of_type(resources, "SearchParameter"):
        if parameter["experimental"]:
            continue
        fact = {key: parameter[key] for key in keep if key in parameter}
        if "component" in parameter:
            fact["component"] = [{k: c[k] for k in ("definition", "expression")} for c in parameter["component"]]
        found.append(fact)
    return sorted(found, key=lambda f: f["url"])


def compartments(resources: Iterable[Json]) -> Json:
    """Return, by compartment, the search parameter codes that link each member type to it."""
    return {
        definition["code"]: {r["code"]: r["param"] for r in definition["resource"] if r.get("param")}
        for definition in of_type(resources, "CompartmentDefinition")
        if definition["id"] != "example"
    }


# --- elements -------------------------------------------------------------------------------------------------------


def elements(resources: Iterable[Json]) -> Json:
    """Return, by type or backbone path, its kind and base and its child elements in the specification's order."""
    found: Json = {}
    for definition in of_type(resources, "StructureDefinition"):
        if definition.get("derivation") == "constraint" or definition["kind"] not in ("resource", "complex-type"):
            continue
        for element in definition["snapshot"]["element"]:
            add_element(found, definition, element)
    return {name: group for name, group in sorted(found.items()) if group["elements"] or "abstract" in group}


def add_element(found: Json, definition: Json, element: Json) -> None:
    """Put one snapshot element into its parent's group, and open a group of its own when it is a structure."""
    path, types = element["path"], element.get("type", [])
    if "." not in path:
        base = definition.get("baseDefinition", "").removeprefix(STRUCTURE)
        found[path] = {"kind": definition["kind"]} | ({"base": base} if base else {})
        found[path] |= ({"abstract": True} if definition["abstract"] else {}) | {"elements": {}}
        return
    parent, _, name = path.rpartition(".")
    codes = [fhir_type(path, t, definition["kind"]) for t in types]
    fact: Json = {"types": codes} if codes else {}
    if codes in (["BackboneElement"], ["Element"]):
        found[path] = {"kind": "backbone", "base": codes[0], "elements": {}}
        fact["content"] = path
    if "contentReference" in element:
        fact["content"] = element["contentReference"].removeprefix("#")
    if "xmlAttr" in element.get("representation", []):
        fact["attribute"] = True  # an attribute in XML, and without a companion for extensions in JSON
    fact |= {key: True for key, flag in (("summary", "isSummary"), ("modifier", "isModifier")) if element.get(flag)}
    found[parent]["elements"][name] = fact | cardinality(element) | binding(element) | targets(types)


def cardinality(element: Json) -> Json:
    """Return min and max where they differ from 0..1."""
    return {k: element[k] for k, usual in (("min", 0), ("max", "1")) if element[k] != usual}


def binding(element: Json) -> Json:
    """Return the value set of a required binding, without its version."""
    bound = element.get("binding", {})
    return {"required": bound["valueSet"].partition("|")[0]} if bound.get("strength") == "required" else {}


def targets(types: Iterable[Json]) -> Json:
    """Return the types that a reference may point to; none means any."""
    named = (t.removeprefix(STRUCTURE) for one in types for t in one.get("targetProfile", []) if "code" in one)
    found = sorted(set(named) - {"Resource"})
    return {"targets": found} if found else {}


def fhir_type(path: str, declared: Json, kind: str) -> str:
    """Return the FHIR type of an element; ids and Extension.url are declared with a FHIRPath type and a note."""
    if not declared["code"].startswith("http"):
        return str(declared["code"])
    if kind == "resource" and path.count(".") == 1:
        return "id"  # the note says string, which is a known fault of 4.0.1: resource.html says id
    return next(str(e["valueUrl"]) for e in declared["extension"] if e["url"] == FHIR_TYPE)


# --- value sets and narrative ---------------------------------------------------------------------------------------


def required_bindings(types: Mapping[str, Json]) -> list[str]:
    """Return the value sets that some element is bound to with strength `required`."""
    return sorted({e["required"] for g in types.values() for e in g["elements"].values() if "required" in e})


def value_sets(resources: Iterable[Json], urls: Iterable[str]) -> Json:
    """Return the codes by system of each value set that can be listed in full."""
    sets = {v["url"]: v for v in of_type(resources, "ValueSet")}
    systems = {s["url"]: s for s in of_type(resources, "CodeSystem")}
    expanded = {url: expand(sets[url], systems) for url in urls if url in sets}
    return {url: codes for url, codes in expanded.items() if codes}


def expand(value_set: Json, systems: Mapping[str, Json]) -> Json | None:
    """Return codes by system, or None when a part of the value set cannot be listed."""
    if "exclude" in value_set["compose"]:
        return None
    found: dict[str, list[str]] = {}
    for part in value_set["compose"]["include"]:
        system = systems.get(part.get("system", ""), {"content": "not-present"})
        if "concept" in part:
            codes = [c["code"] for c in part["concept"]]
        elif system["content"] == "complete" and "filter" not in part and "valueSet" not in part:
            codes = list(concept_codes(system["concept"]))
        else:
            return None
        found.setdefault(part["system"], []).extend(codes)
    return found


def concept_codes(concepts: Iterable[Json]) -> Iterator[str]:
    """Yield the codes of a concept tree, parents first."""
    for concept in concepts:
        yield concept["code"]
        yield from concept_codes(concept.get("concept", []))


def narrative(resources: Iterable[Json]) -> Json:
    """Return the elements and attributes that invariant txt-1 allows in a narrative, read from its XPath."""
    definition = next(r for r in of_type(resources, "StructureDefinition") if r["id"] == "Narrative")
    div = next(e for e in definition["snapshot"]["element"] if e["path"] == "Narrative.div")
    rule = next(c["xpath"] for c in div["constraint"] if c["key"] == "txt-1")
    named, attributed = rule.split("@*", 1)
    return {"elements": quoted(named), "attributes": quoted(attributed)}


def quoted(xpath: str) -> list[str]:
    """Return the quoted names of the first parenthesised list of an XPath."""
    inside = xpath[xpath.index("('") + 1 :].split(")", 1)[0]
    return sorted(name.strip().strip("'") for name in inside.split(","))


# --- text -----------------------------------------------------------------------------------------------------------


def compact(value: object) -> str:
    """Return JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def lines_of_object(value: Json) -> str:
    """Return a JSON object with one member on each line, so that a change can be read."""
    return "{\n" + ",\n".join(f"{compact(k)}:{compact(v)}" for k, v in value.items()) + "\n}\n"


def lines_of_list(value: Iterable[object]) -> str:
    """Return a JSON array with one item on each line."""
    return "[\n" + ",\n".join(compact(item) for item in value) + "\n]\n"


if __name__ == "__main__":
    main()
