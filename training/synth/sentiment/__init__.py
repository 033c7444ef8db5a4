"""Sentiment: a negative, neutral or positive remark as a face, a voice and a sentence.

What each of them shows is a *view* that is drawn from the sentiment: mostly its own, sometimes another (a polite smile,
a level voice, irony). So none of them can be trusted alone, and what all can know together is a number: ``views`` (what
is shown how often) -> ``face``, ``prosody``, ``words`` (the three modalities) -> ``script`` (every drawn quantity of a
clip) -> ``render`` (a dataset).
"""
