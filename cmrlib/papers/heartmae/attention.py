"""Attention over many tokens on a processor: a few heads at a time, so that their scores stay in its cache.

Scores of 16 heads and 1176 tokens are 44 MB in bf16: written out whole they cost more than they take to compute, and
torch's own fused kernel is slow on processors in the backward pass. Same numbers as softmax(q kᵀ / √d) v in bf16.
"""

import torch
from torch.nn import functional

FEWEST_TOKENS = 200
"""Below, scores are small and written out whole."""

IN_CACHE = 2**20
"""Scores that are worked on at a time."""


def attention(q, k, v):
    """(n, heads, queries, d), (n, heads, tokens, d), the same → (n, heads, queries, d).

    Without gradients, in fp32 and on other devices it is torch's own kernel.
    """
    learns = q.requires_grad and torch.is_grad_enabled()
    if not learns or q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v)
    if k.shape[2] >= FEWEST_TOKENS:
        return _FewHeads.apply(q, k, v)
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v


def _buffers(q, k, n_more):
    """How many heads at a time, and as many arrays of their scores."""
    many = IN_CACHE // (q.shape[1] * k.shape[1])
    heads = max(1, min(max(many, torch.get_num_threads()), q.shape[0]))
    return heads, [q.new_empty(heads, q.shape[1], k.shape[1]) for _ in range(1 + n_more)]


def _shares(q, k, into):
    """softmax(q kᵀ) of a few heads, (heads, queries, tokens), in the buffer."""
    torch.bmm(q, k.transpose(1, 2), out=into)
    return torch.softmax(into, -1, out=into)


class _FewHeads(torch.autograd.Function):
    """Nothing of the size queries × tokens is kept for the backward pass: it is computed again."""

    @staticmethod
    def forward(ctx, q, k, v):
        shape, scale = q.shape, q.shape[-1] ** -0.5
        q, k, v = ((part.flatten(0, 1)) for part in (q * scale, k, v))
        out = torch.empty_like(q)
        step, (scores,) = _buffers(q, k, 0)
        for a in range(0, len(q), step):
            few = slice(a, min(a + step, len(q)))
            shares = _shares(q[few], k[few], scores[: few.stop - a])
            torch.bmm(shares, v[few], out=out[few])
        ctx.save_for_backward(q, k, v, out)
        ctx.scale = scale
        return out.view(shape)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out = ctx.saved_tensors
        shape, grad = (*grad.shape[:2], k.shape[1], k.shape[2]), grad.flatten(0, 1).contiguous()
        step, (scores, slopes) = _buffers(q, k, 1)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        delta = (grad.float() * out.float()).sum(-1, keepdim=True).to(grad.dtype)
        for a in range(0, len(q), step):
            few = slice(a, min(a + step, len(q)))
            shares = _shares(q[few], k[few], scores[: few.stop - a])
            torch.bmm(shares.transpose(1, 2), grad[few], out=dv[few])
            slope = torch.bmm(grad[few], v[few].transpose(1, 2), out=slopes[: few.stop - a])
            slope.sub_(delta[few]).mul_(shares)
            torch.bmm(slope, k[few], out=dq[few])
            torch.bmm(slope.transpose(1, 2), q[few], out=dk[few])
        queries = (*shape[:2], q.shape[1], q.shape[2])
        return dq.mul_(ctx.scale).view(queries), dk.view(shape), dv.view(shape)
