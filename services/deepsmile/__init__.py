"""DeepSMILE: calibrated slide-level scores from H&E whole-slide images. Research use only."""

__version__ = "0.1.0"
