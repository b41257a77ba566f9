"""Stored records: values as bytes, the envelope around them, and its metadata. Pure."""
