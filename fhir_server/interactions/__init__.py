"""One file for each interaction of http://hl7.org/fhir/R4/http.html; table.py is the single way in."""
