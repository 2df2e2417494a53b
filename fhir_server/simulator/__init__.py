"""Messages of a hospital that is not there: plausible, coherent for each patient, never of anybody."""
