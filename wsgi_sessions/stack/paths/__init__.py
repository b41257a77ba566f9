"""Middlewares that answer paths of their own, as configured."""
