"""Encoders that others have trained: found, rebuilt from their configuration, fed as their own processor would."""
