"""Training: from a request to a plan, a trainer, and a run with its events.

Nothing here prints.
"""
