"""Checks of what a config asks of this host: device, number formats, attention, threads, disk, sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qaprune.data.sources import HUB_TIMEOUT_S
from qaprune.estimate import disk_gb
from qaprune.plan import Plan
from qaprune.profile.checks import NO, WARN, YES, Answer, Finding, Host, one_line
from qaprune.profile.environment import available_cores
from qaprune.profile.host_checks import free_gb

NAMES = {"bfloat16": "bf16", "onnxruntime_int8": "onnxruntime"}
"""Where the answer to a demand has another name."""


class Demands:
    """The demands of one plan. `answers` are those of the checks before: a demand is met where its is."""

    def __init__(self, plan: Plan, answers: Sequence[Answer], network: bool):
        self._config, self._plan, self._network = plan.config, plan, network
        self._answers = {answer.name: answer for answer in answers}

    def device(self, host: Host) -> Finding:
        """`auto` takes what is there."""
        wanted = self._config["compute"]["device"]
        if wanted == "cuda" and not host.on_gpu:
            return Finding(NO, f"asks for cuda: {host.no_cuda or 'no GPU'}")
        used = host.device if wanted != "cpu" else "cpu"
        if wanted == "cpu" and host.on_gpu:
            return Finding(
                WARN, "asks for cpu: the GPU stays unused, and the checks above are about the GPU"
            )
        return Finding(YES, f"asks for {wanted}, takes {used}")

    def dtypes(self, host: Host) -> list[Finding]:
        return self._named({self._config["compute"]["dtype"], *self._config["profile"]["dtype"]})

    def backends(self, host: Host) -> list[Finding]:
        return self._named({self._config["compute"]["attention"], *self._config["profile"]["backend"]})

    def compiling(self, host: Host) -> list[Finding]:
        training = self._config["compute"].get("compile", "off")
        asked = {training, *self._config["profile"]["compile"]} - {"off"}
        if not asked:
            return [Finding(YES, "not asked for")]
        answer = self._answers["torch.compile"]
        return [Finding(answer.mark, f"{', '.join(sorted(asked))}: {answer.text}")]

    def _named(self, asked: set[str]) -> list[Finding]:
        """A finding for each asked value that is not simply met, and one for those that are."""
        simple, findings = [], []
        for value in sorted(asked):
            answer = self._answers.get(NAMES.get(value, value))
            if answer is None or answer.mark == YES:
                simple.append(value)
            else:
                findings.append(Finding(answer.mark, f"{value}: {answer.text}"))
        return [Finding(YES, ", ".join(simple))] * bool(simple) + findings

    def foreign(self, host: Host) -> Finding:
        """Whether the run would be ended by who is on the GPU now."""
        policy, answer = self._config["profile"]["foreign_processes"], self._answers["foreign processes"]
        if not host.on_gpu or policy != "abort" or answer.mark == YES:
            return Finding(YES, policy)
        consequence = "the run would end now" if answer.mark == WARN else "nobody would be noticed"
        return Finding(NO, f"{policy}: {consequence}: {answer.text}")

    def threads(self, host: Host) -> Finding:
        """More threads than cores wait for each other."""
        asked = {name: self._config[name]["threads"] for name in ("evaluate", "profile")}
        asked = {"compute": self._plan.training_threads} | asked
        text = ", ".join(f"{name} {number}" for name, number in asked.items())
        if max(asked.values()) > available_cores():
            return Finding(WARN, f"{text}, but only {available_cores()} cores are there")
        return Finding(YES, text)

    def disk(self, host: Host) -> Finding:
        """The weights by the same estimate as `qaprune plan`."""
        (most, stay), free = disk_gb(self._plan), free_gb(host)
        text = f"up to {most:.1f} GB of weights, of which {stay:.1f} stay; {free:.1f} GB free"
        return Finding(YES if most < free else WARN if stay < free else NO, text)

    def sources(self, host: Host) -> list[Finding]:
        """Local ones were looked up when the config was read; the hub's are asked for with `--network`."""
        sources = list(self._sources())
        hub = dict.fromkeys(
            (kind, source["hub"], source.get("revision")) for kind, source in sources if "hub" in source
        )
        local = sum("hub" not in source for _, source in sources)
        findings = [Finding(YES, f"{local} local or generated")] * bool(local)
        if hub and not self._network:
            names = ", ".join(name for _, name, _ in hub)
            return [*findings, Finding(WARN, f"from the hub, not tried without --network: {names}")]
        return findings + [_on_hub(*repository) for repository in hub]

    def _sources(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(kind on the hub, source) of encoders, ready teachers and data sets."""
        for model in self._config["models"].values():
            yield from (
                ("model", source) for source in (model["source"], *model.get("teachers", {}).values())
            )
        for dataset in self._config["datasets"].values():
            yield from (("dataset", dataset[split]) for split in ("train", "dev"))


def _on_hub(kind: str, name: str, revision: str | None) -> Finding:
    """Whether the hub shows this repository to us."""
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=HUB_TIMEOUT_S)
    except Exception as error:
        return Finding(NO, f"{kind} {name} on the hub: {type(error).__name__}: {one_line(error)}")
    return Finding(YES, f"{kind} {name} is on the hub")
