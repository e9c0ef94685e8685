"""Synthetic slides: procedural, H&E-like, seeded; no patient, no clinical meaning, no torch."""
