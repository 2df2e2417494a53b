"""What a simulated laboratory measures: codes and units are LOINC's and UCUM's, ranges and values are made up.

https://loinc.org/
"""

from __future__ import annotations

from typing import NamedTuple


class Analyte(NamedTuple):
    """One result: what is normal lies between `low` and `high`, written with so many decimals."""

    code: str
    name: str
    unit: str
    low: float
    high: float
    decimals: int


class Panel(NamedTuple):
    """What is ordered and reported together."""

    code: str
    name: str
    analytes: tuple[Analyte, ...]


PANELS = (
    Panel("58410-2", "Blood count", (
        Analyte("6690-2", "Leukocytes", "10*3/uL", 4.0, 11.0, 1),
        Analyte("789-8", "Erythrocytes", "10*6/uL", 4.2, 5.9, 2),
        Analyte("718-7", "Hemoglobin", "g/dL", 12.0, 17.0, 1),
        Analyte("4544-3", "Hematocrit", "%", 36.0, 50.0, 1),
        Analyte("787-2", "MCV", "fL", 80.0, 100.0, 1),
        Analyte("785-6", "MCH", "pg", 27.0, 33.0, 1),
        Analyte("786-4", "MCHC", "g/dL", 32.0, 36.0, 1),
        Analyte("788-0", "Erythrocyte distribution width", "%", 11.5, 14.5, 1),
        Analyte("777-3", "Platelets", "10*3/uL", 150.0, 400.0, 0),
        Analyte("32623-1", "Platelet mean volume", "fL", 7.5, 11.5, 1),
    )),
    Panel("51990-0", "Basic metabolic panel", (
        Analyte("2345-7", "Glucose", "mg/dL", 70.0, 99.0, 0),
        Analyte("3094-0", "Urea nitrogen", "mg/dL", 7.0, 20.0, 0),
        Analyte("2160-0", "Creatinine", "mg/dL", 0.6, 1.3, 2),
        Analyte("2951-2", "Sodium", "mmol/L", 136.0, 145.0, 0),
        Analyte("2823-3", "Potassium", "mmol/L", 3.5, 5.1, 1),
        Analyte("2075-0", "Chloride", "mmol/L", 98.0, 107.0, 0),
        Analyte("2028-9", "Carbon dioxide", "mmol/L", 22.0, 29.0, 0),
        Analyte("17861-6", "Calcium", "mg/dL", 8.6, 10.2, 1),
    )),
    Panel("24331-1", "Lipids", (
        Analyte("2093-3", "Cholesterol", "mg/dL", 120.0, 200.0, 0),
        Analyte("2571-8", "Triglyceride", "mg/dL", 50.0, 150.0, 0),
        Analyte("2085-9", "HDL cholesterol", "mg/dL", 40.0, 80.0, 0),
        Analyte("13457-7", "LDL cholesterol", "mg/dL", 50.0, 130.0, 0),
    )),
    Panel("24323-8", "Liver panel", (
        Analyte("1742-6", "ALT", "U/L", 7.0, 55.0, 0),
        Analyte("1920-8", "AST", "U/L", 8.0, 48.0, 0),
        Analyte("6768-6", "Alkaline phosphatase", "U/L", 40.0, 129.0, 0),
        Analyte("1975-2", "Bilirubin", "mg/dL", 0.1, 1.2, 1),
        Analyte("1751-7", "Albumin", "g/dL", 3.5, 5.0, 1),
    )),
)  # fmt: skip
