"""What simulated people, wards and letters are called: invented words, and telephone numbers that belong to nobody."""

from __future__ import annotations

# Families are put together of two parts, so that they read like names and are nobody's. All fit Latin-1.
FAMILY_BEGINNINGS = (
    "Amber", "Birken", "Cedar", "Dorn", "Elster", "Farn", "Gråsten", "Hasel", "Isling", "Jasper", "Kvist", "Lärchen",
    "Maple", "Nørre", "Ocker", "Pinien", "Quill", "Rosen", "Søren", "Tannen", "Ulmen", "Vårby", "Weiden", "Zirbel",
)  # fmt: skip
FAMILY_ENDS = ("bäck", "feld", "gård", "holm", "lund", "mère", "nés", "stone", "thorpe", "vale", "wick", "ström")
GIVEN = {
    "F": ("Ada", "Bruna", "Chloé", "Dagny", "Elif", "Frøya", "Gudrun", "Inés", "Keiko", "Léa", "Maïté", "Noor"),
    "M": ("Abel", "Björn", "Chidi", "Darío", "Emre", "Farid", "Günther", "Hiro", "Jonas", "Lars", "Mateo", "Nils"),
}
STREETS = ("Nowhere Lane", "Example Street", "Placebo Road", "Sample Avenue", "Specimen Way", "Trial Close")
CITIES = (("Simville", "00001"), ("Testburg", "00002"), ("Mockford", "00003"), ("Port Example", "00004"))
STATE = "ZZ"
# Numbers from 555-0100 to 555-0199 are kept for fiction.
AREA, EXCHANGE, FIRST_LINE, LINES = "305", "555", 100, 100
PHYSICIANS = (
    ("S1001", "Ulmenwick", "Frøya"), ("S1002", "Kvistvale", "Emre"), ("S1003", "Ockerholm", "Noor"),
    ("S1004", "Tannenstone", "Hiro"), ("S1005", "Rosengård", "Chloé"),
)  # fmt: skip
WARDS = (("MED", 12), ("SURG", 10), ("ICU", 6), ("OBS", 8))
CLINICS = ("CARDIO", "DERMA", "ENDO", "ORTHO")
ALLERGIES = (("70618", "Penicillin"), ("2670", "Codeine"), ("1191", "Aspirin"))
PROBLEMS = (
    ("I10", "Hypertension"), ("E11.9", "Type 2 diabetes"), ("J45.909", "Asthma"), ("N39.0", "Urinary tract infection"),
    ("R07.9", "Chest pain"), ("M54.50", "Low back pain"),
)  # fmt: skip
VISIT_TYPES = (("FOLLOWUP", "Follow-up visit", 15), ("NEW", "New patient visit", 30), ("PROC", "Procedure", 45))
CHARGES = (("99213", "Office visit", "92.00"), ("80048", "Metabolic panel", "14.50"), ("93000", "ECG", "26.40"))
LETTER = (
    "This letter was made by a simulator. It is of nobody.",
    "Course: uneventful. The patient feels well.",
    "Plan: control in two weeks; return earlier with fever or pain.",
)
