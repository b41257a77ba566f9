"""Settings: their declarations and the kinds of their values."""
