"""Pretraining: a tile encoder from tiles without labels (paper section 4.1.1, appendix B.1)."""
