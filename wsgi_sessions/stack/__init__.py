"""The composition root: from settings to a wrapped application. It alone knows all parts."""
