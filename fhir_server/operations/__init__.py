"""One file for each FHIR operation."""
