"""Write the expected mapping beside each message of tests/golden, for a person to review as a diff.

Usage: python tools/golden.py   (then read `git diff tests/golden` line by line before committing it)
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mappings import hl7v2  # noqa: E402
from mappings.mapped import Mapped, SenderProfile  # noqa: E402
from mappings.to_fhir import to_fhir  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
PROFILE = SenderProfile(zone="Europe/Berlin")


def expected(data: bytes) -> bytes:
    """Return what a message maps to, as JSON that reads well; decimals keep their digits."""
    mapped = to_fhir(hl7v2.parse(hl7v2.decode(data).text), PROFILE)
    return msgspec.json.format(msgspec.json.Encoder(decimal_format="number").encode(shown(mapped)), indent=1) + b"\n"


def shown(mapped: Mapped) -> dict[str, object]:
    """Return entries and issues without what is empty."""
    entries = [{k: v for k, v in msgspec.structs.asdict(entry).items() if v} for entry in mapped.entries]
    return {"entries": entries, "issues": [msgspec.structs.asdict(issue) for issue in mapped.issues]}


def main() -> None:
    """Write every expectation anew."""
    for message in sorted(GOLDEN.glob("*.hl7")):
        message.with_suffix(".json").write_bytes(expected(message.read_bytes()))
        print(message.name)


if __name__ == "__main__":
    main()
