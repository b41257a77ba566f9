"""Who takes part: this package, its peers, and the floors that nobody can go below."""
