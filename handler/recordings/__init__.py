"""Recordings of more than a piece: decoded, scored and answered piece by piece."""
