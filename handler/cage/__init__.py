"""Decode in small processes of its own, away from the model and from whatever else the worker holds."""
