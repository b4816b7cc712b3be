"""Evaluation: scores, surprisal, gradient flow, novelty and baselines."""
