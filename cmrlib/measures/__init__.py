"""Masks and points → volumes, fractions, mass, wall thickness, the 18 features, curves, valve motion, and flags."""

from cmrlib.measures.curves import curves
from cmrlib.measures.features import features
from cmrlib.measures.names import FEATURES, HUMAN_SD, INDEXED, MEASURES, indexed_name, label
from cmrlib.measures.phases import RefusedError, whole_sections
from cmrlib.measures.plausible import withheld
from cmrlib.measures.postprocess import clean_mask
from cmrlib.measures.volumes import Conventions, volumes
