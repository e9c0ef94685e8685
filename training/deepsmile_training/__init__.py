"""Makes bundles: encoders, heads, calibration, evidence, export. Needs torch."""
