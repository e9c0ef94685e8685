"""Heads: from a bag of tile features to a slide's classes, and how they are trained."""
