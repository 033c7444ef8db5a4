"""Why a window or a segment has its label."""
