"""What the worker and the receiver both stand on."""

__version__ = "0.1.0"
