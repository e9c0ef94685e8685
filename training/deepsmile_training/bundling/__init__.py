"""Bundling: from a prepared cohort to a sealed, calibrated bundle with its card and evidence."""
