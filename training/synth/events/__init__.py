"""Events: a concert, a lecture or a sporting event as a picture, a sound and a row of a table.

What a modality shows is a *view* that is drawn from the event: mostly the event's own, sometimes another's. So none of
them can be trusted alone, and what all can know together is a number: ``views`` (what is shown how often) ->
``picture``, ``sound``, ``table`` (the three modalities) -> ``render`` (a dataset).
"""
