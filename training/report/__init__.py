"""The page that says what a training gave: ``history`` and an evaluation -> ``figures`` -> ``page`` (HTML and PNG)."""
