"""From a clip's bytes to timed activity labels: the stages, in the order in which a request passes them."""
