"""Lets torchvision's Python parts work beside a torch that cannot load its compiled operators.

A CPU-only torch with the registry's torchvision (a CUDA build) fails at `import torchvision` with "operator
torchvision::nms does not exist", and fastai.vision with it. Models, transforms and datasets need none of those
operators; it is enough to declare them. Detection (`ops.nms`) stays without them.

Nothing happens until somebody imports torchvision, and an installation that imports as it is, is left alone.
"""

import sys
from importlib.machinery import PathFinder, SourceFileLoader

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared = []  # torch withdraws the operators when the Library object is collected


class _Loader(SourceFileLoader):
    """Loads torchvision; where its operators are missing, declares them and loads it once more."""

    def exec_module(self, module):
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            for name in [name for name in sys.modules if name.startswith("torchvision.")]:
                del sys.modules[name]  # half-imported by the attempt that failed
            _declare_operators()
            super().exec_module(module)


class _Finder:
    """Finds torchvision, and only that, as Python would, and hands it to our loader."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _declare_operators():
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + SIGNATURE)
    _declared.append(library)


def install():
    """Put the finder first, once; importing cmrlib does it."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
