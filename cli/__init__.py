"""The command line ``activity``."""
