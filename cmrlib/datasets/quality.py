"""What a user should know of a cine before measuring on it, from geometry alone: flags, never corrections."""

from cmrlib.datasets.geometry import Stack

FEWEST_SLICES = 5
SHORTEST_MM = 40.0
"""Below either, a short-axis stack cannot hold a left ventricle (ours; low, so that children's hearts pass)."""


def coverage_flags(stack: Stack, view: str) -> tuple[str, ...]:
    """`coverage_short` for a short-axis stack that is too short for a heart, or of too few slices."""
    if view != "sax":
        return ()
    positions = stack.slice_position_mm
    long_enough = len(positions) >= FEWEST_SLICES and positions[-1] - positions[0] >= SHORTEST_MM
    return () if long_enough else ("coverage_short",)
