"""A bundle once more with its encoder in another precision, if the gate lets it pass."""
