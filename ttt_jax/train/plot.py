"""The curves of a training run, drawn from its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot_training(records: list[dict[str, Any]], out: Path) -> None:
    """Writes an image: the training loss, both evaluation losses, and the share answered whole, against real tokens."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    train = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]

    def millions(rows: list[dict[str, Any]]) -> list[float]:
        return [r["tokens"] / 1e6 for r in rows]

    figure, (losses, exact) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    losses.plot(millions(train), [r["loss"] for r in train], color="0.7", label="training (weighted)")
    for name, label, colour in (
        ("held_out", "held-out generators, last output", "tab:red"),
        ("fresh", "training generators, fresh pairs, last output", "tab:blue"),
    ):
        losses.plot(millions(evals), [r[f"{name}_loss"] for r in evals], "o-", ms=3, color=colour, label=label)
        exact.plot(millions(evals), [100 * r[f"{name}_exact"] for r in evals], "o-", ms=3, color=colour, label=label)
    losses.set(xlabel="million real tokens", ylabel="nats per token", yscale="log", title="Loss")
    exact.set(xlabel="million real tokens", ylabel="%", ylim=(0, 100), title="Last outputs answered whole")
    losses.legend(fontsize=8, loc="center right")
    for axes in (losses, exact):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=130)
    plt.close(figure)
