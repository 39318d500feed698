"""The constants of the heart: labels, views, colours, densities. Everything else imports them from here."""

BACKGROUND = 0
STRUCTURES = {"lv": 1, "myo": 2, "rv": 3, "la": 4, "ra": 5}
"""Label codes. ACDC codes RV 1 and LV 3, M&Ms and UK Biobank pipelines LV 1 and RV 3: readers translate once."""

NOT_ANNOTATED = 255
"""Voxels nobody looked at. They are never background: losses, metrics and volumes leave them out."""

NAMES = {
    "lv": "LV cavity",
    "myo": "LV myocardium",
    "rv": "RV cavity",
    "la": "left atrium",
    "ra": "right atrium",
}

COLOURS = {"lv": "#D55E00", "myo": "#009E73", "rv": "#0072B2", "la": "#CC79A7", "ra": "#E69F00"}
"""Okabe-Ito colours, told apart by colour-blind readers."""

VIEWS = ("sax", "4ch", "2ch", "3ch", "rv", "rvot", "lax", "unknown")

VIEW_STRUCTURES = {
    "sax": ("lv", "myo", "rv"),
    "4ch": ("lv", "myo", "rv", "la", "ra"),
    "2ch": ("lv", "myo", "la"),
    "3ch": ("lv", "myo", "rv", "la"),
    "rv": ("rv", "ra"),
    "rvot": ("rv",),
    "lax": ("lv", "myo", "rv", "la", "ra"),
    "unknown": ("lv", "myo", "rv", "la", "ra"),
}
"""What a view can show, hence what a network for it learns."""

LONG_AXIS = ("4ch", "2ch", "3ch")
"""Long-axis views, which one network for `lax` learns together."""

MITRAL_POINTS = {"2ch": ("anterior", "inferior"), "4ch": ("lateral", "septal")}

MYOCARDIAL_DENSITY_G_PER_ML = 1.05


RIGHT_HEART = ("rv", "rvot")
"""Views of the right heart alone, at which nothing that measures the LV looks."""


def views_of(view: str) -> tuple[str, ...]:
    """The views that a network for `view` segments: itself, or all long-axis views for `lax`."""
    return (*LONG_AXIS, "lax") if view == "lax" else (view,)


def codes(structures):
    """Label codes of structure names, in the order given.

    Raises ValueError with the known names for one that is not in `STRUCTURES`.
    """
    unknown = [s for s in structures if s not in STRUCTURES]
    if unknown:
        raise ValueError(f"unknown structures {unknown}; known are {list(STRUCTURES)}")
    return [STRUCTURES[s] for s in structures]
