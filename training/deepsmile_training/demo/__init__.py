"""The demo bundle: synthetic slides, an encoder told what the painter knows, two heads."""
