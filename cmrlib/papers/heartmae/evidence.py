"""Where the evidence lies: attribution of a prediction to tokens, drawn on the picture.

The paper names it as missing (§ 6). Integrated gradients (Sundararajan et al., ICML 2017, by captum) from a clip that
is the training set's mean everywhere: what a section adds to the prediction, token by token.
"""

import torch
from captum.attr import IntegratedGradients

from cmrlib.cine import Cine
from cmrlib.papers.heartmae.features import moving, read_out
from cmrlib.papers.heartmae.probe import Probe
from cmrlib.papers.heartmae.tokens import patches


def attribution(task, model, probe: Probe, heads, target: str, cine: Cine, k: int, steps: int = 32):
    """(picture (size, size), map (rows, columns of tokens), prediction): what each place of slice k adds to a target.

    picture: the first clip's first frame. map: summed over a token's pixels and over time, in SDs of the target (or
    logits). The slice is looked at alone, as a bag of its own first view; where the pooling looks is kept. heads: the
    probe's network.
    """
    design, device, number = model.design, model.mean.device, probe.targets.index(target)
    heads, kind = heads.to(device).eval(), probe.views.index(cine.view) if probe.views else 0
    picture = task.clips(cine, k)[:1]
    clip = model.standardise(picture.to(device))
    with torch.no_grad():
        weights = moving(model.encoder.tokens(clip))[1]

    def predict(standard):
        features = read_out(model.encoder.tokens(standard), model, task.pooling, weights)
        bags = features.new_full((len(features), max(1, len(probe.views)), 1, features.shape[1]), torch.nan)
        return heads(bags.index_copy(1, torch.tensor([kind], device=device), features[:, None, None]))[:, number]

    found = IntegratedGradients(predict).attribute(clip, torch.zeros_like(clip), n_steps=steps, internal_batch_size=1)
    by_token = patches(found, design.patch, design.tubelet).sum(2).view(design.grid).sum(0)
    with torch.inference_mode():
        value = float(predict(clip)[0])
    return picture[0, 0].numpy(), by_token.detach().cpu().numpy(), value
