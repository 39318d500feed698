"""Cardiac MRI in notebooks: any study in, measured hearts out. Research only, not a medical device.

Nothing heavy is imported here. `cmrlib.learning._torchvision` comes first so that its import hook stands before
anything asks for fastai.vision.
"""

from cmrlib.learning import _torchvision

__version__ = "0.1.0"

_torchvision.install()
