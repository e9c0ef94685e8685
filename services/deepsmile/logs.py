"""Logs: one line format for every process, on stderr."""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up_logs() -> None:
    """Log from INFO on; does nothing where logging was set up already."""
    logging.basicConfig(level=logging.INFO, format=FORMAT)
