"""What operators do with a store: look at it, clean it up, find out what is wrong."""
