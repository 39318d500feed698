"""Streams in the left atrium: what a leaking mitral valve throws back, and what only looks like it."""

from dataclasses import dataclass

import numpy as np

SHORT_TR_MS = 2.85
"""Below this the echo comes before turbulence has dephased the blood: the scanner shows no flow void (ours)."""


@dataclass(frozen=True)
class Plume:
    """A cone of turbulent blood, by default the jet of every case mix but `mr2`: from the middle of the valve to the
    posterior wall.

    strength: 0 none, 1 all of length_mm. start, end: in systoles (0 … 1, the valve is closed) and diastoles (1 … 2).
    x_mm, y_mm: where it starts, in the mitral plane or, with `roof`, in the atrium's roof, whence it runs towards the
    valve. direction_rad: to which side it leans, from posterior. lean: mm aside a mm of depth, no more than aside_mm:
    there it hugs the wall. width_mm: radius at its start; spread: what the radius gains a mm.
    """

    strength: float
    start: float = 0.0
    end: float = 1.0
    x_mm: float = 0.0
    y_mm: float = 0.0
    direction_rad: float = 0.0
    lean: float = 0.25
    aside_mm: float = 1e9
    width_mm: float = 2.0
    spread: float = 0.24
    length_mm: float = 40.0
    roof: bool = False


def plain_plumes(regurgitant_fraction: float) -> tuple[Plume, Plume]:
    """Jet and no decoy; its reach grows with the root of the regurgitant fraction up to 40 % (ours)."""
    return Plume(min(1.0, np.sqrt(regurgitant_fraction / 0.4))), Plume(0.0)


def sample_plumes(rng, regurgitant_fraction: float, ring_mm: float, atrium_mm: float) -> tuple[Plume, Plume]:
    """Jet and decoy of a subject of the mix `mr2`; shares and spreads are ours.

    Jets come from anywhere along the line of closure and lean to any side, two of five little, the others far or along
    the wall, so that a third leaves the 4CH plane; they last all of systole or a part. Decoys are inflow from a
    pulmonary vein in systole or diastole, or a shadow in the valve's inlet in diastole, and know nothing of the leak.
    ring_mm, atrium_mm: radii.
    """
    reach = min(1.2, (regurgitant_fraction / 0.12) ** 0.8 * np.exp(rng.normal(0, 0.2)))
    kind = rng.choice(["central", "eccentric", "wall"], p=[0.5, 0.3, 0.2])
    lean = {"central": abs(rng.normal(0, 0.15)), "eccentric": rng.uniform(0.35, 0.8), "wall": rng.uniform(0.7, 1.2)}
    jet = Plume(
        reach,
        *((0.0, 1.0), (0.0, 0.5), (0.4, 1.0))[rng.choice(3, p=[0.65, 0.1, 0.25])],
        *rng.uniform(-0.4, 0.4, 2) * ring_mm,
        direction_rad=rng.uniform(0, 2 * np.pi),
        lean=lean[kind],
        aside_mm=rng.uniform(0.75, 0.95) * atrium_mm if kind == "wall" else 1e9,
        width_mm=rng.uniform(3.5, 5.5),
        spread=rng.uniform(0.2, 0.4),
        length_mm=rng.uniform(40, 65),
    )
    decoy, side, turn = rng.choice(["none", "vein", "shadow"], p=[0.35, 0.4, 0.25]), *rng.uniform(0, 2 * np.pi, 2)
    vein = Plume(
        float(decoy == "vein"),
        *((0.1, 0.95), (1.0, 1.5))[rng.choice(2, p=[0.3, 0.7])],
        *np.array([np.cos(side), np.sin(side)]) * rng.uniform(0.2, 0.7) * atrium_mm,
        direction_rad=turn,
        lean=rng.uniform(0, 0.5),
        width_mm=rng.uniform(2.0, 3.5),
        spread=rng.uniform(0.05, 0.2),
        length_mm=rng.uniform(14, 30),
        roof=True,
    )
    inlet = Plume(
        1.0, 1.0, 1.45, direction_rad=turn, lean=0.1, width_mm=rng.uniform(4, 7), length_mm=rng.uniform(8, 16)
    )
    return jet, inlet if decoy == "shadow" else vein


def grey(rng, tr_ms: float) -> float:
    """Signal of a jet relative to resting blood: a void, or none to speak of where TR is short."""
    void, faint = rng.uniform(0.15, 0.6), rng.uniform(0.85, 1.05)
    return faint if tr_ms < SHORT_TR_MS else void
