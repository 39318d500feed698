"""Protocol of a scan, and the scanners: effects by name, domains, sizes, orientations."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

from cmrlib.phantom.diagnoses import read_yaml

EFFECTS = (
    "flow", "coil", "noise", "banding", "blur", "gibbs", "wrap", "breath_hold", "mistrigger", "ghost", "respiration",
    "view_sharing",
)  # fmt: skip
"""Effects of the acquisition besides the signal; each can be left out of `Protocol.effects`."""

APPEARANCES = ("real", "random")
VIEWS = ("sax", "4ch", "2ch", "3ch")
DOMAINS = {"one": ("A",), "many": ("A", "B", "C", "D")}
"""Appearance domains: one vendor in one centre, or several."""

SCANNERS = {name: SimpleNamespace(**ranges) for name, ranges in read_yaml("scanners.yaml").items()}
"""Settings of each vendor, see scanners.yaml."""


@dataclass(frozen=True)
class Protocol:
    """Settings of a scan. size: (rows, columns). slices None: as many as the heart needs, 8-10 mm apart.

    size, spacing_mm: None for what the subject's scanner uses. effects: names from `EFFECTS`. domain: a key of
    `DOMAINS`. appearance: "real", or "random" for grey values far beyond realism in every second subject.
    Raises ValueError for unknown names and impossible sizes.
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
        refuse_unknown("views", self.views, VIEWS)
        refuse_unknown("effects", self.effects, EFFECTS)
        refuse_unknown("domain", [self.domain], DOMAINS)
        refuse_unknown("appearance", [self.appearance], APPEARANCES)
        if self.frames < 2 or min(self.size or (16,)) < 16 or not self.views:
            raise ValueError(f"expected at least 2 frames, 16×16 pixels and 1 view; got {self}")
        if not (self.spacing_mm is None or 0.3 <= self.spacing_mm <= 6) or (
            self.slices is not None and self.slices < 3
        ):
            raise ValueError(f"expected spacing of 0.3 to 6 mm and at least 3 SAX slices; got {self}")


def refuse_unknown(kind: str, given, known):
    """Raise ValueError where a given name is not known."""
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"the phantom does not know the {kind} {unknown}; there are {', '.join(known)}")


def resolve_protocol(protocol: Protocol, rng) -> tuple[Protocol, str]:
    """The protocol with size and spacing filled in, and the name of the subject's scanner."""
    names = DOMAINS[protocol.domain]
    name = names[int(rng.integers(len(names)))]
    scanner = SCANNERS[name]
    size = tuple(scanner.sizes[int(rng.integers(len(scanner.sizes)))])
    spacing = round(rng.uniform(*scanner.spacing_mm), 4)
    return replace(protocol, size=protocol.size or size, spacing_mm=protocol.spacing_mm or spacing), name
