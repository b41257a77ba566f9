"""The part of this package that ``manage.py`` finds."""
