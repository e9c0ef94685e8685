"""Slides: one protocol, two readers, raw level pixels and nothing else."""
