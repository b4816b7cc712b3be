"""What a model is and how it is trained: typed, frozen settings with the meaning beside each.

No torch.
"""
