"""Other projects' messages are read without a loss, mapped to valid FHIR or refused with a reason."""

from __future__ import annotations

from collections import Counter

from mappings.header import header
from mappings.hl7v2 import decode, order_key, parse, split_batch
from mappings.mapped import SenderProfile, Unmapped
from mappings.to_fhir import to_fhir
from tests.mappings.corpus import corpus_files, needs_corpus
from tests.mappings.reading import check_valid

pytestmark = needs_corpus

# types whose every message has a map, unless it lacks the patient
MAPPED = {"ADT^A01", "ADT^A02", "ADT^A03", "ADT^A04", "ADT^A08", "ADT^A31", "ORU^R01"}


def test_every_byte_comes_back() -> None:
    for file in corpus_files():
        data = file.read_bytes()
        decoded = decode(data)
        message = parse(decoded.text)
        assert message.encode() == decoded.text, file
        assert decoded.text.encode(decoded.charset) == data, file
        assert [segment.encode() for segment in message.segments] == [segment.text for segment in message.segments]


def test_every_message_has_a_header_and_an_order_key() -> None:
    for file in corpus_files():
        data = file.read_bytes()
        found, message = header(data), parse(decode(data).text)
        assert order_key(message).count("|") >= 2
        if message.segments and message.segments[0].id == "MSH":
            assert found.control_id == (message.get("MSH-10") or "").strip(), file


def test_every_message_is_valid_fhir_or_refused_with_a_reason() -> None:
    mapped, reasons = Counter[str](), Counter[str]()
    for file in corpus_files():
        text = decode(file.read_bytes()).text
        for one in split_batch(text) or [text]:
            message = parse(one)
            kind = f"{message.get('MSH-9.1') or ''}^{message.get('MSH-9.2') or ''}"
            try:
                check_valid(to_fhir(message, SenderProfile()))
                mapped[kind] += 1
            except Unmapped as refused:
                reasons[refused.issues[0].diagnostics.partition(":")[0], kind in MAPPED] += 1
    assert set(mapped) == MAPPED
    assert sum(mapped.values()) >= 370
    assert set(reasons) == {
        ("MSH-9", False),
        ("the message has no MSH", False),
        ("the message has no PID", True),
        ("the message has no PID", False),
    }
