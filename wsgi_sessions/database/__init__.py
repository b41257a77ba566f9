"""The application's own database: connections to it, and the version stamps kept in it."""
