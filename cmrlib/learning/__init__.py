"""What every paper's training shares: blocks, callbacks, weights and their cards."""
