"""Keeping sessions fresh in the background, while nobody uses them."""
