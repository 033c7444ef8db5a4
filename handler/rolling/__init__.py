"""Scores, smoothing and segments of what comes bit by bit, with a memory of fixed size."""
