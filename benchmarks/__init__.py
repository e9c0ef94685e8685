"""One script per claim; each prints a ratio against a peer or a limit, measured in one run."""
