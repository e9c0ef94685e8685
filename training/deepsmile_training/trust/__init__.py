"""Trust: what lets a bundle say that it does not know: prediction sets and novelty."""
