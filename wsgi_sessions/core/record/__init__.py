"""Stored records: values as bytes, the envelope around them, and what marks it bears. Pure."""
