"""Encoders: from a backbone and its first weights to a checked model in the repository."""
