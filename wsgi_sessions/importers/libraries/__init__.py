"""The formats of the libraries whose sessions can be imported, a module for each."""
