"""Gain: first-order Taylor importance of each gate (Michel, Levy and Neubig 2019, equation 2).

Score of a gate g: the sum over examples x of |dL(x)/dg| at g = 1. The absolute value is taken for each
example, so every example has gates of its own. Cost: one forward and one backward pass over `windows`
training windows, in float32 (under bf16 the scores were 9 to 29 % off). Own choice: no normalisation by
layer, since heads and units are ranked over the whole model as they are.
"""

from __future__ import annotations

from qaprune.gate.registry import GateTask, Scores


class Gain:
    needs_model = True
    per_budget = False
    whole_layers = False
    version = 1

    def score(self, task: GateTask) -> Scores:
        """Accumulate |dL/dg| over `settings["windows"]` windows."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        import torch

        from qaprune.gate.gates import gated
        from qaprune.train.losses import span_loss

        model, shape, settings = task.model, task.shape, task.settings
        device = next(model.parameters()).device
        heads = torch.zeros(shape.layers, shape.heads[0], device=device)
        ff = torch.zeros(shape.layers, shape.ff[0], device=device)
        windows = tokens = 0
        model.eval().requires_grad_(False)
        with gated(model) as gates:
            for batch in task.batches(settings["batch_tokens"], settings["windows"], task.seed):
                size = batch["input_ids"].shape[0]
                head_gates = [
                    torch.ones(size, width, device=device, requires_grad=True) for width in shape.heads
                ]
                ff_gates = [
                    torch.ones(size, width, device=device, requires_grad=True) for width in shape.ff
                ]
                gates.set(head_gates, ff_gates)
                # Summed over the batch, so that the gradient of an example's own gates is that example's.
                loss = span_loss(model, batch) * size
                gradients = torch.autograd.grad(loss, head_gates + ff_gates)
                heads += torch.stack([g.abs().sum(0) for g in gradients[: shape.layers]])
                ff += torch.stack([g.abs().sum(0) for g in gradients[shape.layers :]])
                windows += size
                tokens += int(batch["attention_mask"].sum())
        return Scores(heads.cpu().numpy()[None], ff.cpu().numpy()[None], passes=windows, tokens=tokens)
