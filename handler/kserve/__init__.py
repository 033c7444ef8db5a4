"""KServe's bodies, v1 and v2."""
