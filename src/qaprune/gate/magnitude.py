"""Magnitude of the weights, taken part by part (Han et al. 2015; structured as in Li et al. 2017).

A head adds W_o W_v x to the residual stream, a unit w_out f(w_in x): its score is the Frobenius norm of
that product, ||W_o W_v|| or ||w_out|| ||w_in||. A hidden dimension is written by LayerNorms, with (w, b),
and read by the columns C of the matrices behind each: ||(w, b)|| ||C||, squares summed over LayerNorms.

Own choices: a product does not change when scale moves from one matrix to the other, as a sum of norms
would; queries, keys, biases and the residual path do not count; no normalisation by layer. Cost: no pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qaprune.gate.registry import GateTask, Scores

if TYPE_CHECKING:
    import torch
    from torch import nn


class Magnitude:
    needs_model = True
    per_budget = False
    whole_layers = False
    version = 1

    def score(self, task: GateTask) -> Scores:
        """Norms in float64."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        import numpy as np
        import torch

        from qaprune.models.encoder import encoder_layers, ff_output, head_output

        heads, ff = [], []
        with torch.no_grad():
            for layer, count in zip(encoder_layers(task.model), task.shape.heads, strict=True):
                value = layer.attention.self.value.weight.double().unflatten(0, (count, -1))
                output = head_output(layer).weight.double().unflatten(1, (count, -1))
                # ||O V||^2 = sum(O'O * VV'): two small matrices a head instead of one as wide as the model.
                inner = torch.einsum("ohd,ohe->hde", output, output)
                outer = torch.einsum("hdi,hei->hde", value, value)
                heads.append((inner * outer).sum((1, 2)).clamp(min=0).sqrt())
                norms = layer.intermediate.dense.weight.double().norm(dim=1)
                ff.append(norms * ff_output(layer).weight.double().norm(dim=0))
            found = {"heads": torch.stack(heads), "ff": torch.stack(ff)}
            if task.hidden:
                found["hidden"] = _hidden(task.model)
        arrays = {kind: norms.cpu().numpy().astype(np.float32)[None] for kind, norms in found.items()}
        return Scores(**arrays)


def _hidden(model: nn.Module) -> torch.Tensor:
    """Of every dimension of the residual stream [hidden width]."""
    from qaprune.models.encoder import hidden_norms, hidden_readers

    return sum(
        (norm.weight.double().square() + norm.bias.double().square())
        * sum(reader.weight.double().square().sum(0) for reader in readers)
        for norm, readers in zip(hidden_norms(model), hidden_readers(model), strict=True)
    ).sqrt()
