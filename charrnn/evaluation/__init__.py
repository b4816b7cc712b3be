"""What a model can be asked: scores, surprisal, gradient flow, novelty, baselines."""
