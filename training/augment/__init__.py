"""Random changes of the training data, one draw a run, by modality."""
