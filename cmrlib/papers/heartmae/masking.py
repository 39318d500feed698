"""Which tokens are hidden, and which frames are to be reconstructed: counts that can be checked by hand."""

from dataclasses import dataclass

import torch

STRATEGIES = ("random", "tube")


@dataclass(frozen=True)
class Masking:
    """ratio: share of tokens that is hidden. strategy: `random`, or `tube`: the same positions in all frames.

    decoder_share: of the hidden tokens, those that a training step reconstructs, others at every step; the decoder sees
    no more of them. It saves most of the decoder's work (VideoMAE V2, Wang et al. 2023); 1 in the paper.
    """

    ratio: float = 0.9
    strategy: str = "random"
    decoder_share: float = 1.0

    def __post_init__(self):
        if self.strategy not in STRATEGIES or not 0 < self.ratio < 1 or not 0 < self.decoder_share <= 1:
            raise ValueError(
                f"masking {self.strategy!r} of {self.ratio}, decoder share {self.decoder_share}: expected one "
                f"of {', '.join(STRATEGIES)}, a ratio between 0 and 1, and a share above 0 and up to 1"
            )

    def kept(self, steps: int, positions: int) -> int:
        """How many of steps × positions tokens the encoder sees: 117 (90 %), 58 (95 %) or 114 (tube) of 6 × 196."""
        if self.strategy == "tube":
            return steps * _share(positions, self.ratio)
        return _share(steps * positions, self.ratio)

    def decoded(self, hidden: int) -> int:
        """How many of so many hidden tokens a training step reconstructs, at least one."""
        return max(1, round(self.decoder_share * hidden))

    def draw(self, n: int, steps: int, positions: int, generator=None) -> torch.Tensor:
        """(n, steps · positions) token numbers, time first, in an order of which the first `kept` are seen."""
        if self.strategy == "tube":
            where = torch.rand(n, positions, generator=generator).argsort(1)  # (n, positions)
            ids = where[:, :, None] + positions * torch.arange(steps)  # (n, positions, steps)
            return ids.flatten(1)
        return torch.rand(n, steps * positions, generator=generator).argsort(1)


def _share(tokens, ratio):
    kept = int(tokens * (1 - ratio) + 1e-6)
    if kept < 1:
        raise ValueError(
            f"of {tokens} tokens {ratio:.0%} hidden leaves none to see; use larger clips, smaller patches "
            "or a lower ratio"
        )
    return kept


def target_frames(frames: int) -> list[int]:
    """Half of the frames, first and last among them: 0, 2, …, 20, 23 of 24. These are to be reconstructed."""
    n = frames // 2
    return [i * (frames - 1) // (n - 1) for i in range(n)]
