"""What a setting is, which kinds there are, and the settings of single middlewares."""
