"""From the folder of a published dataset to a manifest and its files."""
