"""What FHIR says: definitions, structures, paths and problems, without a server. http://hl7.org/fhir/R4/"""
