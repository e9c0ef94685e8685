"""A cohort made ready for heads: its split, and its slides' features by every extractor."""
