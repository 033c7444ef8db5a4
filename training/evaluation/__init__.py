"""What a checkpoint reaches on a manifest.

``observe`` (what the model says of each clip) -> ``measure`` (how good that is), with ``robustness`` and ``latency`` on
request; ``results`` has what comes out.
"""
