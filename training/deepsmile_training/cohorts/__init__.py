"""Cohorts: who the patients are, what is known of them, and who is tested on whom."""
