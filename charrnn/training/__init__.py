"""What changes a model: from a request to a plan, a trainer, a run and its events.

Nothing here prints.
"""
