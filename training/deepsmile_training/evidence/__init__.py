"""Evidence: figures with intervals, calibration, operating points, and the report of a run."""
