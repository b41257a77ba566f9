"""Sessions in a SQL database."""
