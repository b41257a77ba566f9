"""The background refresh: sessions stay fresh while no request uses them."""
