"""Tile sets: from slides or tile images to a packed store that training reads at random."""
