"""Comparisons that anyone can run; each prints what docs/results.md quotes."""
