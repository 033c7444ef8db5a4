"""A made-up world with known answers: real media files in which an activity is a motion, a sound and a phrase.

Each of the three carries one bit of the label and nothing else does, so one modality alone cannot pass 25 % and two
cannot pass 50 %: whoever passes them has used all three.

From a seed to a file: ``labels`` (what there is to tell) -> ``dealing`` (which activities, how long) -> ``script``
(every drawn quantity of a clip) -> ``drawing``, ``sound``, ``phrases`` (the three modalities) -> ``encode`` (the
container) -> ``render`` (a dataset) and ``samples`` (the clips of the demo and the canary).
"""
