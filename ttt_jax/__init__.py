"""Test-time training for reasoning: one frozen decoder, thousands of adapters, trained side by side."""

__version__ = "0.1.0"


def __getattr__(name: str):
    # Lazy, so that tools which replay a run on disk never import jax.
    if name == "load_model":
        from ttt_jax.model.io import load_model

        return load_model
    raise AttributeError(f"module 'ttt_jax' has no attribute {name!r}")


__all__ = ["load_model"]
