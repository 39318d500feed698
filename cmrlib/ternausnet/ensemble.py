"""Several networks that differ in their random start alone, as one: their errors differ too, and the mean has fewer."""

import torch
from torch import nn

from cmrlib.ternausnet import network
from cmrlib.ternausnet.network import TernausNet


class Ensemble(nn.Module):
    """(b, 3, rows, columns) → logits (b, classes, rows, columns) whose softmax is the mean of the members'."""

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        p = torch.stack([member(x).float().softmax(1) for member in self.members]).mean(0)
        return p.clamp(min=1e-7).log()


def build(architecture: dict) -> TernausNet | Ensemble:
    """Network from a weights card's `architecture`; an ensemble where it has several `members`."""
    members = [network.build(architecture) for _ in range(architecture.get("members", 1))]
    return members[0] if len(members) == 1 else Ensemble(members)


def architecture_of(model: TernausNet | Ensemble, structures) -> dict:
    """What `build` needs to make such a network again."""
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    several = {"members": len(members)} if len(members) > 1 else {}
    width = members[0].encoder[0][0].out_channels
    return {"name": "TernausNet", "width": width, "structures": list(structures)} | several
