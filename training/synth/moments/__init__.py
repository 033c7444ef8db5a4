"""Clips whose picture, sound and words tell of one another, so that each can be found by the others."""
