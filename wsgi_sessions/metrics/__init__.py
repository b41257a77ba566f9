"""Metrics: numbers of all workers of a server, for Prometheus."""
