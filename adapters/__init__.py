"""Bytes in, bytes out: protocols and stores, which know neither HL7 content nor FHIR."""
