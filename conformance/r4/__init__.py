"""R4 facts distilled from the specification package by tools/distil_r4.py."""
