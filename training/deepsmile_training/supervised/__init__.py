"""The tile-supervised baseline (paper section 4.2.1): every tile has its patient's label."""
