"""What goes wrong with models on disk."""


class ModelError(ValueError):
    """A model that cannot be loaded or written; says which file, which entry and why."""
