"""Text ⇄ FHIR, as pure functions: HL7 v2 messages are parsed, acknowledged and mapped by tables."""
