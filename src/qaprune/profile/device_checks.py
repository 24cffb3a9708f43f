"""Checks of the device that would be timed: what it computes, how it is timed, what it tells of itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from qaprune.errors import InputError
from qaprune.models.onnx import missing_packages
from qaprune.profile.checks import NO, WARN, YES, Finding, Host, one_line
from qaprune.profile.environment import (
    BF16_FLAGS,
    bf16_instructions,
    cpu_model,
    gpu_settings,
    package_version,
)
from qaprune.profile.foreign import describe, foreign_processes
from qaprune.profile.nvml import NO_GPU, VISIBLE, ask, open_gpu
from qaprune.profile.outcome import NotMeasured, Unavailable
from qaprune.profile.power import make_meter
from qaprune.profile.sampler import Sampler, throttle_names

COMPILE_LIMIT_S = 120
"""A first compilation starts the compiler a dozen times: 18 seconds were measured on one slow core."""
COMPILED = """
import sys, torch
torch.compile(lambda x: torch.relu(x @ x) + 1)(torch.ones(8, 8, device=sys.argv[1]))
"""
BUSY_PERCENT = 5
"""A card busier than this though nothing of ours runs is shared."""
HARMLESS = ("gpu_idle", "applications_clocks_setting")
"""Throttle reasons that a card at rest, or one that is set up on purpose, gives."""
UNITS = {
    "power_w": "{:.0f} W",
    "sm_clock_mhz": "SM {:.0f} MHz",
    "memory_clock_mhz": "memory {:.0f} MHz",
    "temperature_c": "{:.0f} C",
    "gpu_util_percent": "{:.0f} % busy",
    "memory_used_mb": "{:.0f} MiB used",
}
"""How readings are shown; the others are only named where they are missing."""


@contextmanager
def open_host() -> Iterator[Host]:
    """The real host, with the NVML session held. Nothing that is broken raises here."""
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # torch warns of what the checks say themselves
        try:
            torch: ModuleType | NotMeasured = import_module("torch")
        except (Exception, SystemExit) as error:
            torch = NotMeasured(f"torch cannot be imported: {one_line(error)}")
        device, no_cuda = find_device(torch)
        try:
            gpu = stack.enter_context(open_gpu(device))
        except Exception as error:
            gpu = NotMeasured(one_line(error))
        yield Host(torch, device, gpu, no_cuda)


def find_device(torch: ModuleType | NotMeasured) -> tuple[str, str]:
    """The device that `device: auto` takes, and why it is no GPU (empty where it is one)."""
    if isinstance(torch, NotMeasured):
        return "cpu", torch.reason
    try:
        if torch.cuda.is_available():
            return f"cuda:{torch.cuda.current_device()}", ""
        return "cpu", why_no_cuda(torch)
    except Exception as error:
        return "cpu", f"torch cannot use CUDA: {one_line(error)}"


def why_no_cuda(torch: ModuleType) -> str:
    """torch says only that there is none; its build, the variable and its own start-up know more."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA"
    if os.environ.get(VISIBLE, "0").strip() in ("", "-1"):
        return f"{VISIBLE} hides all GPUs"
    try:
        torch.cuda.init()
    except Exception as error:
        return one_line(error).partition(". ")[0]
    return "torch finds no GPU"


def driver_view(nvml: ModuleType | None = None) -> str:
    """What NVML sees where torch sees nothing: `the driver sees 2 GPUs`, or why it sees none."""
    if nvml is None:
        try:
            import pynvml as nvml
        except ImportError:
            return "nvidia-ml-py is not installed"
    try:
        ask(nvml, "nvmlInit")
        try:
            count = ask(nvml, "nvmlDeviceGetCount")
        finally:
            nvml.nvmlShutdown()
    except (Unavailable, InputError) as error:
        return f"no driver answers ({one_line(error).removeprefix('nvmlInit: ')})"
    return f"the driver sees {count} GPU{'' if count == 1 else 's'}"


# What would be timed


def device(host: Host) -> Finding:
    """The device of `device: auto`."""
    host.need_torch()
    if host.on_gpu:
        return Finding(YES, f"{host.device}, {host.torch.cuda.get_device_name(host.device)}")
    return Finding(YES, f"cpu, {cpu_model(host.proc / 'cpuinfo')}")


def gpu(host: Host) -> Finding:
    """Memory, driver, CUDA and MIG; on a CPU why there is no GPU, by torch and by the driver."""
    if not host.on_gpu:
        return Finding(NO, f"{host.no_cuda or NO_GPU}; {driver_view()}")
    torch = host.need_torch()
    memory = torch.cuda.get_device_properties(host.device).total_memory / 2**20
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    text = f"{memory:.0f} MiB, {built}"
    if isinstance(host.gpu, NotMeasured):
        return Finding(WARN, f"{text}; {host.gpu.reason}: its state cannot be seen")
    text += f", driver {_text(host.gpu.ask('nvmlSystemGetDriverVersion'))}"
    if host.gpu.mig:
        return Finding(WARN, f"{text}, a MIG slice: energy and power belong to the whole card")
    return Finding(YES, f"{text}, the whole card (no MIG)")


def gpu_limits(host: Host) -> Finding:
    """Clocks, power limit, ECC and persistence, as far as the card tells them."""
    found = {key: value for key, value in gpu_settings(host.need_gpu()).items() if value is not None}
    shown = [
        f"{name} clock {_clock(found, key)}"
        for name, key in (("SM", "sm"), ("memory", "memory"))
        if f"gpu_max_{key}_clock_mhz" in found
    ]
    if "gpu_power_limit_w" in found:
        shown.append(f"{found['gpu_power_limit_w']:.0f} W at the most")
    for name, key in (("ECC", "gpu_ecc"), ("persistence", "gpu_persistence_mode")):
        if key in found:
            shown.append(f"{name} {'on' if found[key] else 'off'}")
    if not shown:
        raise Unavailable("the card tells neither clocks nor power limit")
    return Finding(YES, ", ".join(shown))


def _clock(found: dict, key: str) -> str:
    most, asked = found[f"gpu_max_{key}_clock_mhz"], found.get(f"gpu_application_{key}_clock_mhz")
    return f"to {most} MHz" + (f" (set to {asked})" if asked is not None else "")


# Energy and state


def energy(host: Host) -> Finding:
    """Watch the energy counter for a second: does it move, how often, and what is drawn at rest?"""
    meter = replace(
        make_meter(host.device, host.gpu, lambda: None, host.powercap), clock=host.clock, sleep=host.sleep
    )
    idle = meter.idle(settle_seconds=0)
    if isinstance(idle, NotMeasured):
        raise Unavailable(idle.reason)
    name = {"nvml": "NVML", "rapl": "RAPL"}[meter.counter.source]
    text = f"{name}'s counter moves every {idle.period_s * 1000:.3g} ms; {idle.watts:.1f} W at rest"
    return Finding(YES, text)


def sampler(host: Host) -> list[Finding]:
    """Poll everything once: what it reads now, what cannot be read, and whether it is at rest."""
    polled = Sampler(host.need_gpu(), clock=host.clock, start_thread=False)
    polled.poll()
    if polled.lost:
        raise Unavailable(str(polled.lost))
    now = {key: trace.points[-1][1] for key, trace in polled.traces.items() if trace.points}
    shown = [form.format(now[key]) for key, form in UNITS.items() if key in now]
    throttled = [name for name in throttle_names(int(now.get("throttle", 0))) if name not in HARMLESS]
    if "throttle" in now and not throttled:
        shown.append("not throttled")
    findings = [Finding(YES if shown else NO, ", ".join(shown) or "nothing can be read")]
    missing: dict[str, list[str]] = {}
    for key, trace in polled.traces.items():
        if key not in now:
            missing.setdefault(trace.reason or "no value", []).append(key)
    findings += [Finding(NO, f"{', '.join(keys)}: {reason}") for reason, keys in missing.items()]
    if throttled:
        findings.append(Finding(WARN, f"throttled at this moment: {', '.join(throttled)}"))
    if now.get("gpu_util_percent", 0) > BUSY_PERCENT:
        findings.append(Finding(WARN, "the GPU is busy, and not with this command"))
    return findings


def foreign(host: Host) -> Finding:
    """Whether others on the device can be told apart from this process, and who is there now."""
    gpu = host.need_gpu()
    host.need_torch().zeros(1, device=host.device)  # the driver lists only who has used the device
    found = foreign_processes(gpu, host.own_pid, host.proc)
    if found:
        return Finding(WARN, f"{describe(found)} on the GPU now")
    return Finding(YES, "visible, and nobody else is there now")


# Timing


def timer(host: Host) -> Finding:
    """CUDA events around an operation; on a CPU the wall clock is all there is to ask for."""
    if not host.on_gpu:
        raise Unavailable("no GPU: the wall clock times passes")
    torch = host.need_torch()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    torch.zeros(1, device=host.device)
    end.record()
    torch.cuda.synchronize(host.device)
    if start.elapsed_time(end) < 0:
        raise Unavailable("events run backwards")
    return Finding(YES, "events and wall clock time passes")


def bfloat16(host: Host) -> Finding:
    """Multiply bfloat16 matrices, and say whether the hardware does it."""
    torch = host.need_torch()
    ones = torch.ones(64, 64, dtype=torch.bfloat16, device=host.device)
    if float((ones @ ones)[0, 0]) != 64:
        raise Unavailable("a product of ones comes out wrong")
    if host.on_gpu:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Finding(YES, "matrices are multiplied in hardware")
        return Finding(WARN, "runs, but emulated: this GPU is too old for it")
    fast = bf16_instructions(host.proc)
    if fast:
        return Finding(YES, f"matrices are multiplied in hardware ({', '.join(fast)})")
    return Finding(WARN, f"runs, but emulated and slow: the CPU has neither {' nor '.join(BF16_FLAGS)}")


def eager(host: Host) -> Finding:
    """transformers' own attention: plain torch operations."""
    host.need_torch()
    if find_spec("transformers") is None:
        raise Unavailable("transformers is not installed")
    return Finding(YES, "plain torch operations of transformers")


def sdpa(host: Host) -> Finding:
    """torch's scaled dot product attention, once."""
    torch = host.need_torch()
    heads = torch.ones(1, 2, 8, 16, device=host.device)
    torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
    return Finding(YES, "torch's fused attention runs")


def flash_attention_2(host: Host) -> Finding:
    """Whether the package is there, can be loaded and is one that transformers takes."""
    if not host.on_gpu:
        raise Unavailable("needs a GPU")
    if find_spec("flash_attn") is None:
        raise Unavailable("the package flash-attn is not installed")
    import_module("flash_attn")
    if not import_module("transformers.utils").is_flash_attn_2_available():
        raise Unavailable("the package is there, but transformers does not take it")
    return Finding(YES, f"flash-attn {package_version('flash-attn')}")


def onnxruntime(host: Host) -> Finding:
    """Whether the packages of the extra are there; both of its backends need the same."""
    if host.on_gpu:
        raise Unavailable("timed on a CPU alone")
    if missing := missing_packages():
        raise Unavailable(missing)
    return Finding(YES, f"onnxruntime {package_version('onnxruntime')}, float32 and int8")


def compiling(host: Host) -> Finding:
    """Compile a tiny function in another process, with an empty cache: one that hangs can be ended."""
    host.need_torch()
    with tempfile.TemporaryDirectory(prefix="qaprune-compile-", ignore_cleanup_errors=True) as cache:
        variables = {
            "TORCHINDUCTOR_CACHE_DIR": cache,
            "TRITON_CACHE_DIR": cache,
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        started = host.clock()
        process = subprocess.Popen(
            [sys.executable, "-c", COMPILED, host.device],
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that its compilers end with it
        )
        try:
            _, errors = process.communicate(timeout=COMPILE_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"not done within {COMPILE_LIMIT_S} s") from None
        finally:
            _end(process)
    if process.returncode:
        raise Unavailable(compile_reason(errors) or f"the process ended with code {process.returncode}")
    return Finding(YES, f"a first function compiles in {host.clock() - started:.0f} s")


def _end(process: subprocess.Popen) -> None:
    """End the process and what it started; nothing happens where all are gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def compile_reason(errors: str) -> str:
    """The line of a traceback that says why: the compiler's own error, else the last exception's."""
    by_compiler = re.search(r"error: (.+)", errors)
    if by_compiler:
        return one_line(by_compiler[1])
    exceptions = re.findall(r"^[\w.]+(?:Error|Exception|NotFound|Exit): (.+)", errors, re.MULTILINE)
    return one_line(exceptions[-1]) if exceptions else ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
