"""Sessions that WSGI workers share."""

__version__ = "0.1.0"
