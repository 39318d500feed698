"""What the scanner is told, and the scanners: effects by name, appearance domains, sizes, orientations."""

from dataclasses import dataclass, replace

import numpy as np

EFFECTS = (
    "flow",
    "coil",
    "noise",
    "banding",
    "blur",
    "gibbs",
    "wrap",
    "breath_hold",
    "mistrigger",
    "ghost",
    "respiration",
    "view_sharing",
)
"""Everything that an acquisition does to a slice besides its signal; each can be left out of `Protocol.effects`."""

APPEARANCES = ("real", "random")


@dataclass(frozen=True)
class Protocol:
    """What the scanner is told. size: (rows, columns). slices None: as many as the heart needs, 8-10 mm apart.

    size, spacing_mm: None for what the subject's scanner uses. effects: names from `EFFECTS`. domain: a key of
    `DOMAINS`. appearance: "real", or "random" for grey values far beyond realism in every second subject.
    Raises ValueError for unknown names.
    """

    frames: int = 20
    views: tuple[str, ...] = ("sax", "4ch", "2ch")
    size: tuple[int, int] | None = (128, 128)
    spacing_mm: float | None = 2.0
    slices: int | None = None
    subslices: int = 3
    effects: tuple[str, ...] = EFFECTS
    domain: str = "many"
    appearance: str = "real"

    def __post_init__(self):
        unknown = [name for name in self.effects if name not in EFFECTS]
        if unknown or self.domain not in DOMAINS or self.appearance not in APPEARANCES:
            raise ValueError(
                f"the phantom does not know effects {unknown}, domain {self.domain!r} or appearance "
                f"{self.appearance!r}; expected effects {list(EFFECTS)}, domains {list(DOMAINS)}, "
                f"appearances {list(APPEARANCES)}"
            )


@dataclass(frozen=True)
class Scanner:
    """Ranges (low, high) of one vendor's settings; all chosen by eye and ordinary for cine bSSFP, none measured.

    acquired: acquired share of the matrix along (phase, read). evened: how far the coil's shading is divided out.
    turn_deg: how SAX images lie on the screen, as a turn in the plane. long_rows: rows exceed columns in SAX.
    """

    field_t: float
    flip_deg: tuple[float, float]
    tr_ms: tuple[float, float]
    grey: tuple[float, float]
    gamma: tuple[float, float]
    sizes: tuple[tuple[int, int], ...]
    spacing_mm: tuple[float, float]
    thickness_mm: tuple[float, float]
    gap_mm: tuple[float, float]
    acquired: tuple[tuple[float, float], tuple[float, float]]
    evened: tuple[float, float]
    sharpened: tuple[float, float]
    turn_deg: tuple[float, float]


SCANNERS = {
    "A": Scanner(
        1.5,
        (50, 60),
        (2.8, 3.2),
        (180, 500),
        (0.8, 0.95),
        ((208, 168), (192, 156), (208, 192)),
        (1.6, 1.95),
        (6, 8),
        (0, 2),
        ((0.65, 0.85), (0.9, 1.0)),
        (0.2, 0.6),
        (0.0, 0.3),
        (-12, 12),
    ),
    "B": Scanner(
        1.5,
        (55, 70),
        (2.9, 3.6),
        (700, 1800),
        (0.75, 0.95),
        ((256, 256), (224, 192)),
        (1.2, 1.6),
        (7, 10),
        (0, 2),
        ((0.5, 0.75), (0.6, 0.85)),
        (0.3, 0.9),
        (0.0, 0.6),
        (-15, 65),
    ),
    "C": Scanner(
        3.0,
        (38, 50),
        (2.6, 3.2),
        (90, 260),
        (0.8, 1.0),
        ((240, 240), (192, 208), (208, 256)),
        (1.3, 1.8),
        (6, 8),
        (0, 4),
        ((0.6, 0.85), (0.8, 1.0)),
        (0.2, 0.8),
        (0.0, 0.4),
        (-15, 65),
    ),
    "D": Scanner(
        1.5,
        (45, 60),
        (3.2, 4.0),
        (1500, 3200),
        (0.8, 1.0),
        ((224, 224), (160, 192)),
        (1.5, 2.2),
        (8, 10),
        (0, 2),
        ((0.6, 0.9), (0.7, 1.0)),
        (0.1, 0.8),
        (0.0, 0.3),
        (-25, 45),
    ),
}

DOMAINS = {"one": ("A",), "many": ("A", "B", "C", "D")}
"""Appearance domains: one vendor in one centre, or several."""


def settle(protocol: Protocol, rng) -> tuple[Protocol, str]:
    """The protocol with size and spacing filled in, and the name of the subject's scanner."""
    names = DOMAINS[protocol.domain]
    name = names[int(rng.integers(len(names)))]
    scanner = SCANNERS[name]
    size = scanner.sizes[int(rng.integers(len(scanner.sizes)))]
    spacing = round(float(rng.uniform(*scanner.spacing_mm)), 4)
    return replace(protocol, size=protocol.size or size, spacing_mm=protocol.spacing_mm or spacing), name


def draw(rng, limits) -> float:
    """A uniform draw within (low, high)."""
    return float(rng.uniform(*np.asarray(limits, float)))
