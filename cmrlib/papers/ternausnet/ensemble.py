"""Several networks that differ in their random start alone, as one: their errors differ too, and the mean has fewer."""

import torch
from torch import nn

from cmrlib.papers.ternausnet import network
from cmrlib.papers.ternausnet.network import TernausNet


class Ensemble(nn.Module):
    """(b, channels, rows, columns) → logits (b, classes, rows, columns) whose softmax is the mean of the members'."""

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
    first = members[0].encoder[0][0]
    several |= {"channels": first.in_channels} if first.in_channels != 3 else {}
    return {"name": "TernausNet", "width": first.out_channels, "structures": list(structures)} | several
