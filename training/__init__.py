"""Making, training and measuring a model; never part of an archive."""
