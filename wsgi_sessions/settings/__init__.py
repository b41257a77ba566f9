"""What a setting is, which kinds there are."""
