"""Magnitude of the weights, taken part by part (Han et al. 2015; structured as in Li et al. 2017).

A head adds W_o W_v x to the residual stream, a unit w_out f(w_in x): its score is the Frobenius norm of
that product, ||W_o W_v|| or ||w_out|| ||w_in||. Own choices: a product does not change when scale moves
from one matrix to the other, as a sum of norms would; queries, keys and biases do not count; no
normalisation by layer. Cost: no pass at all.
"""

from __future__ import annotations

from qaprune.gate.registry import GateTask, Scores


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
        return Scores(*(torch.stack(kind).cpu().numpy().astype(np.float32)[None] for kind in (heads, ff)))
