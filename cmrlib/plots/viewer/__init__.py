"""Looking at hearts in JupyterLab: an interactive player of cines with overlays, and a scatter plot to choose from.

    viewer = CineViewer(cohort, "P0001")          # all views of one heart, in step by cardiac phase
    viewer.show("P0007")                          # another one
    chooser = Chooser(table, "mean", "difference", link=viewer)   # click a point, see that heart

The browser draws, so playing needs no kernel; pixels travel once per slice.
"""

from cmrlib.plots.viewer.chooser import Chooser
from cmrlib.plots.viewer.player import CineViewer

__all__ = ["Chooser", "CineViewer"]
