"""What ``manage.py`` finds of this package."""
