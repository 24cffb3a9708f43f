"""`qaprune doctor` on hosts that are not there: each answer, and that none keeps the others from coming."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from qaprune.cli import main
from qaprune.profile import checks, config_checks, device_checks, doctor, host_checks
from qaprune.profile.checks import NO, WARN, YES, Answer, Check, Finding, Host, make_check
from qaprune.profile.device_checks import compile_reason, driver_view, find_device, open_host
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured, Unavailable
from tests.unit.fake_nvml import OTHER, OWN_PID, SLICE, UUID, FakeNvml, World

CARD = f"GPU-{UUID}"


class FakeTorch:
    """torch with one GPU whose tensors live on the CPU. `started` counts what was put on the device."""

    def __init__(self, **cuda: object):
        import torch

        self.nn, self.bfloat16, self.get_num_threads = torch.nn, torch.bfloat16, lambda: 1
        self.version = SimpleNamespace(cuda="12.8", hip=None)
        self.started = 0
        event = SimpleNamespace(record=lambda: None, elapsed_time=lambda end: 0.1)
        self.cuda = SimpleNamespace(
            **{
                "is_available": lambda: True,
                "current_device": lambda: 0,
                "get_device_name": lambda device: "NVIDIA Example",
                "get_device_properties": lambda device: SimpleNamespace(total_memory=80 << 30),
                "is_bf16_supported": lambda including_emulation: True,
                "Event": lambda enable_timing: event,
                "synchronize": lambda device: None,
            }
            | cuda
        )
        self._torch = torch

    def zeros(self, *shape, device):
        self.started += 1
        return self._torch.zeros(*shape)

    def ones(self, *shape, device, **more):
        return self._torch.ones(*shape, **more)


def gpu_host(tmp_path: Path, fake: FakeNvml | None = None, torch: object = None, **gpu: object) -> Host:
    """A host with one card and no process beside ours, in simulated time."""
    fake = fake or FakeNvml()
    card = Gpu(fake, CARD, CARD, **gpu)
    return Host(
        torch or FakeTorch(),
        "cuda:0",
        card,
        own_pid=OWN_PID,
        folder=tmp_path,
        proc=tmp_path,
        system_cpu=tmp_path,
        powercap=tmp_path,
        clock=fake.world.clock,
        sleep=fake.world.sleep,
    )


def cpu_host(tmp_path: Path, torch: object = None) -> Host:
    """A host without GPU, RAPL and cpufreq."""
    import torch as real

    missing = NotMeasured("no GPU: timed on the CPU")
    return Host(
        torch or real, "cpu", missing, "this torch is built without CUDA", 1, tmp_path, *[tmp_path] * 3
    )


@pytest.fixture(autouse=True)
def _nothing_slow(monkeypatch):
    """No driver of the machine that the tests run on, and no real compilation."""
    monkeypatch.setattr(device_checks, "driver_view", lambda: "no driver answers (planted)")
    monkeypatch.setattr(device_checks, "compiling", lambda host: Finding(YES, "a first function compiles"))


def ask(host: Host, **options: object) -> dict[str, list[Answer]]:
    """All answers by name."""
    found: dict[str, list[Answer]] = {}
    for answer in doctor.diagnose(host, quiet=True, **options):
        found.setdefault(answer.name, []).append(answer)
    return found


def only(found: dict[str, list[Answer]], name: str) -> tuple[str, str]:
    (answer,) = found[name]
    return answer.mark, answer.text


# hosts


def test_a_machine_without_a_driver_says_why_for_each_figure(tmp_path: Path):
    found = ask(cpu_host(tmp_path))
    assert only(found, "GPU") == (NO, "this torch is built without CUDA; no driver answers (planted)")
    assert only(found, "device")[0] == YES
    assert only(found, "energy") == (
        NO,
        "no GPU: timed on the CPU; RAPL: this machine shows no CPU package counters",
    )
    assert only(found, "CUDA events") == (NO, "no GPU: the wall clock times passes")
    assert only(found, "foreign processes")[0] == only(found, "power and clocks")[0] == NO
    assert only(found, "flash_attention_2") == (NO, "needs a GPU")
    assert only(found, "sdpa")[0] == only(found, "eager")[0] == YES
    assert "GPU limits" not in found


def test_a_full_gpu_has_everything(tmp_path: Path):
    host = gpu_host(tmp_path)
    found = ask(host)
    assert only(found, "device") == (YES, "cuda:0, NVIDIA Example")
    assert only(found, "GPU") == (YES, "81920 MiB, CUDA 12.8, driver 570.86.15, the whole card (no MIG)")
    assert only(found, "GPU limits") == (
        YES,
        "SM clock to 1980 MHz (set to 1830), memory clock to 3201 MHz (set to 2619), 700 W at the most, "
        "ECC on, persistence on",
    )
    assert only(found, "energy") == (YES, "NVML's counter moves every 20 ms; 60.0 W at rest")
    first, *rest = found["power and clocks"]
    assert first.mark == YES
    assert first.text == "60 W, SM 1980 MHz, memory 2619 MHz, 61 C, 97 % busy, 2048 MiB used, not throttled"
    assert [answer.text for answer in rest] == ["the GPU is busy, and not with this command"]
    assert only(found, "foreign processes") == (YES, "visible, and nobody else is there now")
    assert host.torch.started, "the driver lists only processes that have used the device"
    assert only(found, "CUDA events")[0] == only(found, "bf16")[0] == YES


def test_a_mig_slice_has_no_energy_of_its_own(tmp_path: Path):
    fake = FakeNvml(slices=(f"MIG-{SLICE}",))
    found = ask(gpu_host(tmp_path, fake, mig=True, slice=f"MIG-{SLICE}"))
    assert only(found, "energy") == (NO, "a MIG slice: the energy counter belongs to the whole card")
    mark, text = only(found, "GPU")
    assert mark == WARN
    assert "a MIG slice" in text
    seen = found["power and clocks"]
    assert seen[0].text == "SM 1980 MHz, memory 2619 MHz, 61 C, 1024 MiB used, not throttled"
    assert seen[1].mark == NO
    assert seen[1].text.startswith("power_w, gpu_util_percent, memory_util_percent, pcie_tx_mb_s")


def test_an_unknown_slice_is_said_and_leaves_the_rest(tmp_path: Path):
    found = ask(gpu_host(tmp_path, FakeNvml(slices=(f"MIG-{SLICE}",)), mig=True))
    assert only(found, "foreign processes") == (NO, "a MIG slice, and NVML does not tell which one")
    assert only(found, "bf16")[0] == YES


def test_missing_permission_is_the_reason_and_stops_nothing(tmp_path: Path):
    refused = ("TotalEnergyConsumption", "ComputeRunningProcesses", "PowerUsage", "FieldValues", "EccMode")
    errors = {f"nvmlDeviceGet{name}": pynvml.NVML_ERROR_NO_PERMISSION for name in refused}
    found = ask(gpu_host(tmp_path, FakeNvml(errors=errors)))
    for name in ("energy", "foreign processes"):
        mark, text = only(found, name)
        assert mark == NO
        assert "Insufficient Permissions" in text
    assert found["power and clocks"][0].text.startswith("SM 1980 MHz")
    assert any("power_w" in answer.text and answer.mark == NO for answer in found["power and clocks"])
    assert "ECC" not in only(found, "GPU limits")[1]


def test_a_counter_that_stands_still_is_no_energy(tmp_path: Path):
    found = ask(gpu_host(tmp_path, FakeNvml(World(stuck=True))))
    mark, text = only(found, "energy")
    assert mark == NO
    assert text.startswith("the energy counter moved 0 times in 6.0 s")


def test_a_lost_card_leaves_a_report(tmp_path: Path):
    errors = {
        name: pynvml.NVML_ERROR_GPU_IS_LOST
        for name in vars(FakeNvml)
        if name.startswith("nvmlDevice") or name == "nvmlSystemGetDriverVersion"
    }
    found = ask(gpu_host(tmp_path, FakeNvml(errors=errors)))
    for name in ("GPU", "GPU limits", "energy", "power and clocks", "foreign processes"):
        assert only(found, name)[0] == NO
        assert "GPU was lost" in only(found, name)[1]
    assert only(found, "sdpa")[0] == YES


def test_a_card_that_tells_nothing_is_said(tmp_path: Path):
    names = ("MaxClockInfo", "EnforcedPowerLimit", "EccMode", "PersistenceMode", "ApplicationsClock")
    errors = {f"nvmlDeviceGet{name}": pynvml.NVML_ERROR_NOT_SUPPORTED for name in names}
    found = ask(gpu_host(tmp_path, FakeNvml(errors=errors)))
    assert only(found, "GPU limits") == (NO, "the card tells neither clocks nor power limit")


@pytest.mark.parametrize(
    ("processes", "mark", "text"),
    [
        ([(OWN_PID, 100), (7, 300)], WARN, "foreign process 7 (300 MiB) on the GPU now"),
        (
            [(7, 300)],
            NO,
            "NVML lists 1 processes and not this one: pids are hidden by a container or by MPS",
        ),
    ],
)
def test_who_is_on_the_gpu(tmp_path: Path, processes: list, mark: str, text: str):
    found = ask(gpu_host(tmp_path, FakeNvml(processes={"compute": processes})))
    assert only(found, "foreign processes") == (mark, text)


def test_throttling_at_this_moment_is_a_warning(tmp_path: Path):
    fake = FakeNvml()
    fake.throttle = 0x1 | 0x4 | 0x40
    texts = [
        answer.text for answer in ask(gpu_host(tmp_path, fake))["power and clocks"] if answer.mark == WARN
    ]
    assert texts[0] == "throttled at this moment: sw_power_cap, hw_thermal_slowdown"
    fake.throttle = 0x1 | 0x2
    assert all(
        "throttled at" not in answer.text for answer in ask(gpu_host(tmp_path, fake))["power and clocks"]
    )


def test_bf16_is_computed_and_looked_up(tmp_path: Path):
    host = gpu_host(tmp_path, torch=FakeTorch(is_bf16_supported=lambda including_emulation: False))
    assert device_checks.bfloat16(host) == (WARN, "runs, but emulated: this GPU is too old for it", "")
    host.torch.ones = lambda *shape, **_: FakeTorch().ones(*shape, device="cpu") * 2
    with pytest.raises(Unavailable, match="comes out wrong"):
        device_checks.bfloat16(host)
    on_cpu = cpu_host(tmp_path)
    assert device_checks.bfloat16(on_cpu).mark == WARN
    (tmp_path / "cpuinfo").write_text("flags : fpu avx512_bf16 amx_bf16\n")
    assert device_checks.bfloat16(on_cpu).text.endswith("(amx_bf16, avx512_bf16)")


def test_rapl_is_watched_where_it_can_be_read(tmp_path: Path):
    host = cpu_host(tmp_path)
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "1000000000"), ("energy_uj", "0")):
        (zone / name).write_text(text)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 0.02
        (zone / "energy_uj").write_text(str(round(now[0] * 25_000_000)))

    host.clock, host.sleep = lambda: now[0], sleep
    assert only(ask(host), "energy") == (YES, "RAPL's counter moves every 20 ms; 25.0 W at rest")


def test_flash_attention_is_loaded_not_only_looked_up(tmp_path: Path, monkeypatch):
    host = gpu_host(tmp_path)
    monkeypatch.setattr(device_checks, "find_spec", lambda name: None)
    assert only(ask(host), "flash_attention_2") == (NO, "the package flash-attn is not installed")
    monkeypatch.setattr(device_checks, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # as a package whose library does not load
    mark, text = only(ask(host), "flash_attention_2")
    assert mark == NO
    assert "flash_attn" in text


# why torch has no GPU


def broken(message: str):
    """Anything that is called and fails."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    return fail


@pytest.mark.parametrize(
    ("cuda", "reason"),
    [
        ({"is_available": lambda: True}, ""),
        (
            {"init": broken("Found no NVIDIA driver on your system. Please check that\nyou have one.")},
            "Found no NVIDIA driver on your system",
        ),
        ({"init": lambda: None}, "torch finds no GPU"),
        ({"is_available": broken("driver and library do not fit")}, "driver and library do not fit"),
    ],
)
def test_why_torch_finds_no_gpu(monkeypatch, cuda: dict, reason: str):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device, why = find_device(FakeTorch(**{"is_available": lambda: False} | cuda))
    assert device == ("cpu" if reason else "cuda:0")
    assert reason in why
    assert bool(reason) == bool(why)


@pytest.mark.parametrize("text", ["", "-1", " "])
def test_hidden_gpus_are_the_variables_doing(monkeypatch, text: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert find_device(FakeTorch(is_available=lambda: False))[1] == "CUDA_VISIBLE_DEVICES hides all GPUs"


@pytest.mark.parametrize(
    ("fake", "text"),
    [
        (FakeNvml(), "the driver sees 1 GPU"),
        (FakeNvml(cards=(CARD, f"GPU-{OTHER}")), "the driver sees 2 GPUs"),
        (
            FakeNvml(errors={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}),
            "no driver answers (NVML Shared Library Not Found)",
        ),
    ],
)
def test_what_the_driver_sees_where_torch_sees_nothing(fake: FakeNvml, text: str):
    assert driver_view(fake) == text
    assert fake.open == 0


def test_a_torch_that_cannot_be_imported_is_one_reason(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        device_checks, "import_module", broken("libcudart.so.12: cannot open shared object file")
    )
    with open_host() as host:
        found = ask(host)
    for name in ("torch", "device", "bf16", "eager", "sdpa"):
        assert only(found, name) == (
            NO,
            "torch cannot be imported: libcudart.so.12: cannot open shared object file",
        )
    assert only(found, "Python")[0] == YES


def test_nvml_that_breaks_while_the_host_is_opened_is_a_reason(monkeypatch):
    @contextmanager
    def opened(device: str):
        raise OSError("driver and library do not fit")
        yield

    monkeypatch.setattr(device_checks, "open_gpu", opened)
    with open_host() as host:
        assert host.gpu == NotMeasured("driver and library do not fit")


# a check that explodes


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ZeroDivisionError("division\n  by zero"), "the check failed: ZeroDivisionError: division by zero"),
        (KeyError("x"), "the check failed: KeyError: 'x'"),
        (SystemExit(3), "the check failed: SystemExit: 3"),
        (OSError(), "the check failed: OSError: OSError"),
        (Unavailable("not on this card"), "not on this card"),
    ],
)
def test_what_goes_wrong_in_a_check_is_its_answer(tmp_path: Path, error: BaseException, text: str):
    def explode(host: Host) -> Finding:
        raise error

    assert make_check(Check("Section", "thing", explode), cpu_host(tmp_path)) == [
        Answer("Section", "thing", NO, text)
    ]


def test_a_check_that_explodes_leaves_all_others(tmp_path: Path, monkeypatch):
    whole = ask(cpu_host(tmp_path))
    monkeypatch.setattr(device_checks, "sdpa", broken("boom"))
    monkeypatch.setattr(host_checks, "load", broken("boom"))
    found = ask(cpu_host(tmp_path))
    assert list(found) == list(whole)
    assert only(found, "sdpa")[0] == only(found, "load")[0] == NO
    for name in found.keys() - {"sdpa", "load", "disk"}:
        assert found[name] == whole[name]


def test_a_user_who_interrupts_is_obeyed(tmp_path: Path):
    def interrupted(host: Host) -> Finding:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_check(Check("Section", "thing", interrupted), cpu_host(tmp_path))


# the machine


@pytest.mark.parametrize(
    ("governor", "mark"), [("performance", YES), ("powersave", WARN), ("schedutil", WARN), (None, NO)]
)
def test_a_governor_that_lets_clocks_wander_is_a_warning(tmp_path: Path, monkeypatch, governor, mark):
    settings = {"cpu_governor": governor, "cpu_clock_limits_mhz": "800-3500", "cpu_boost": True}
    monkeypatch.setattr(host_checks, "cpu_settings", lambda root: settings)
    finding = host_checks.clocks(cpu_host(tmp_path))
    assert finding.mark == mark
    if governor:
        assert f"governor {governor}, 800-3500 MHz, boost on" in finding.text
        assert ("may drift" in finding.text) is (mark == WARN)


@pytest.mark.parametrize(("load", "mark"), [(0.1, YES), (1.9, YES), (2.1, WARN)])
def test_other_load_is_a_warning(tmp_path: Path, monkeypatch, load: float, mark: str):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert host_checks.load(cpu_host(tmp_path)).mark == mark


def test_more_threads_than_cores_is_a_warning(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(host_checks, "available_cores", lambda: 2)
    host = cpu_host(tmp_path, FakeTorch())
    assert host_checks.cpu(host).mark == YES
    host.torch.get_num_threads = lambda: 3
    assert host_checks.cpu(host).mark == WARN


def test_little_disk_is_a_warning(tmp_path: Path, monkeypatch):
    for free, mark in ((6e9, YES), (1e9, WARN)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(host_checks.shutil, "disk_usage", lambda folder, usage=usage: usage)
        assert host_checks.disk(cpu_host(tmp_path)).mark == mark


# software


@pytest.mark.parametrize(
    ("version", "mark", "text"),
    [
        ("5.20.1", YES, "5.20.1 (needs >=5.17,<6)"),
        ("6.0", WARN, "6.0 is outside of what is tested, needs >=5.17,<6"),
        ("4.57", WARN, "4.57 is outside of what is tested, needs >=5.17,<6"),
        (None, NO, "not installed, needs >=5.17,<6"),
    ],
)
def test_versions_are_held_against_pyproject(monkeypatch, version, mark, text):
    monkeypatch.setattr(host_checks, "project", lambda: {"dependencies": ["transformers>=5.17,<6"]})
    monkeypatch.setattr(host_checks, "package_version", lambda name: version)
    assert host_checks.package("transformers") == (mark, text, "")


def test_packages_that_are_not_as_they_should_be_are_named(tmp_path: Path, monkeypatch):
    given = {"numpy": "1.26", "scipy": None}
    monkeypatch.setattr(host_checks, "package_version", lambda name: given.get(name, "99999"))
    monkeypatch.setattr(
        host_checks, "project", lambda: {"dependencies": ["torch>=2", "numpy>=2", "scipy>=1.14", "tqdm>=4"]}
    )
    whole, *wrong = host_checks.other_packages(cpu_host(tmp_path))
    assert whole == (YES, "1 of 3 are in pyproject.toml's ranges", "")
    assert [(finding.name, finding.mark) for finding in wrong] == [("numpy", WARN), ("scipy", NO)]


def test_an_installed_package_without_a_checkout_knows_its_ranges(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(host_checks, "ROOT", tmp_path)
    found = host_checks.project()
    assert found["requires-python"].startswith(">=3")
    assert any(entry.startswith("torch>=") for entry in found["dependencies"])
    assert not any("pytest" in entry for entry in found["dependencies"]), "extras are no demand"


def test_snakemake_without_its_command_is_a_warning(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(host_checks, "package", lambda name: Finding(YES, "9.1 (needs >=9)"))
    monkeypatch.setattr(host_checks.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(host_checks.shutil, "which", lambda name: None)
    assert host_checks.snakemake(cpu_host(tmp_path)).mark == WARN
    (tmp_path / "snakemake").touch()
    assert host_checks.snakemake(cpu_host(tmp_path)).mark == YES


# torch.compile, for real but without torch

REAL_COMPILING = device_checks.compiling


def test_a_compilation_that_hangs_is_ended_with_all_it_started(tmp_path: Path, monkeypatch):
    started = tmp_path / "started"
    script = (
        "import subprocess, sys, pathlib;"
        "child = subprocess.Popen(['sleep', '60'], stderr=subprocess.DEVNULL);"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); child.wait()"
    )
    monkeypatch.setattr(device_checks, "COMPILED", script)
    monkeypatch.setattr(device_checks, "COMPILE_LIMIT_S", 2)
    host = cpu_host(tmp_path)
    host.device = str(started)
    with pytest.raises(Unavailable, match="not done within 2 s"):
        REAL_COMPILING(host)
    assert gone(int(started.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within five seconds; one that nobody has collected yet counts."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise RuntimeError('no compiler\\nand more')", "no compiler"),
        ("import sys; sys.exit(4)", "the process ended with code 4"),
    ],
)
def test_a_compilation_that_fails_says_why(tmp_path: Path, monkeypatch, script: str, reason: str):
    monkeypatch.setattr(device_checks, "COMPILED", script)
    with pytest.raises(Unavailable) as caught:
        REAL_COMPILING(cpu_host(tmp_path))
    assert str(caught.value) == reason


def test_the_reason_of_a_failed_compilation_is_its_line_in_the_traceback():
    missing = (
        "Traceback (most recent call last):\n  File x\n"
        "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found\n\n"
        "Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace"
    )
    assert compile_reason(missing) == "InvalidCxxCompiler: No working C++ compiler found"
    header = (
        "torch._inductor.exc.InductorError: CppCompileError: C++ compile error\n\n"
        "Command:\ng++ main.cpp\n\nOutput:\n"
        "main.h:3:10: fatal error: Python.h: No such file or directory\ncompilation terminated."
    )
    assert compile_reason(header) == "Python.h: No such file or directory"
    assert compile_reason("") == ""


# what is printed


def report(host: Host, capsys, **options: object) -> str:
    doctor.diagnose(host, **options)
    return capsys.readouterr().out


def test_the_report_fits_80_columns_whatever_the_reasons(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(device_checks, "sdpa", broken("word " * 100))
    monkeypatch.setattr(device_checks, "eager", broken("/a/very/long/path" * 30))
    monkeypatch.setenv("KMP_AFFINITY", "granularity=fine,verbose,compact,1,0," * 5)
    text = report(gpu_host(tmp_path), capsys)
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())


def test_each_line_has_its_name_and_a_mark_that_needs_no_colour(tmp_path: Path, capsys):
    text = report(gpu_host(tmp_path), capsys)
    assert text.isascii()
    assert "  energy             yes   NVML's counter moves every 20 ms; 60.0 W at rest\n" in text
    assert "\nTiming\n  CUDA events        yes" in text
    lines = [line for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    assert {line[21:25].strip() for line in lines} == {YES, NO, WARN}


def test_the_last_line_counts_the_marks(tmp_path: Path, capsys):
    text = report(cpu_host(tmp_path), capsys)
    marks = [answer.mark for answers in ask(cpu_host(tmp_path)).values() for answer in answers]
    counts = f"{marks.count(YES)} yes, {marks.count(NO)} no, {marks.count(WARN)} warning"
    assert text.splitlines()[-1].startswith(counts)
    assert checks.totals([Answer("", "", WARN, "")]) == "0 yes, 0 no, 1 warning"


@pytest.fixture
def here(monkeypatch, tmp_path: Path) -> Host:
    """The command finds this host."""
    host = gpu_host(tmp_path)

    @contextmanager
    def opened():
        yield host

    monkeypatch.setattr(device_checks, "open_host", opened)
    return host


def test_json_says_the_same_as_the_text(here: Host, capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    assert {"section", "name", "mark", "text"} == set(found["checks"][0])
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for check in found["checks"]:
        if check["name"] not in ("load", "disk"):
            assert f"{check['mark']} {check['text']}" in text


def test_what_is_missing_is_no_failure(here: Host, monkeypatch):
    monkeypatch.setattr(device_checks, "sdpa", broken("boom"))
    assert main(["doctor"]) == 0


def test_the_network_is_left_alone_unless_asked(here: Host, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(host_checks, "hub", lambda host: calls.append(1) or Finding(YES, "answers"))
    assert main(["doctor"]) == 0
    assert not calls
    assert "\n  hub " not in capsys.readouterr().out
    assert main(["doctor", "--network"]) == 0
    assert "\n  hub                yes   answers\n" in capsys.readouterr().out


def test_the_hubs_answer(tmp_path: Path, monkeypatch):
    from huggingface_hub import constants, utils

    host = cpu_host(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE"):
        host_checks.hub(host)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for status, mark in ((200, YES), (503, NO)):
        answer = SimpleNamespace(status_code=status)
        session = SimpleNamespace(head=lambda url, timeout, answer=answer: answer)
        monkeypatch.setattr(utils, "get_session", lambda session=session: session)
        assert host_checks.hub(host).mark == mark
    broken = SimpleNamespace(head=lambda url, timeout: (_ for _ in ()).throw(ConnectionError("no route")))
    monkeypatch.setattr(utils, "get_session", lambda: broken)
    with pytest.raises(Unavailable, match=r"cannot be reached \(ConnectionError\)"):
        host_checks.hub(host)


# what a config asks for


def demands(tmp_path: Path, host: Host, overlay: str, network: bool = False) -> dict[str, list[Answer]]:
    """The answers about a config by name, the overlay laid over the default one."""
    from qaprune.config import load_config
    from qaprune.plan import make_plan

    file = tmp_path / "config.yaml"
    file.write_text(overlay)
    found: dict[str, list[Answer]] = {}
    for answer in doctor.diagnose(host, make_plan(load_config([file])), network, quiet=True):
        if answer.section == doctor.CONFIG:
            found.setdefault(answer.name, []).append(answer)
    return found


def test_what_training_asks_for_is_a_demand_too(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(config_checks, "available_cores", lambda: 2)
    monkeypatch.setattr(device_checks, "compiling", lambda host: Finding(NO, "no C compiler"))
    overlay = "compute: {compile: default, processes: 4}"
    found = demands(tmp_path, cpu_host(tmp_path, FakeTorch()), overlay)
    assert [(answer.mark, answer.text) for answer in found["compile"]] == [(NO, "default: no C compiler")]
    assert found["threads"][0].mark == WARN
    assert "compute 4, " in found["threads"][0].text


def test_the_default_config_is_met_without_a_gpu(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(config_checks, "available_cores", lambda: 2)
    found = demands(tmp_path, cpu_host(tmp_path), "name: mine")
    assert {answer.mark for answers in found.values() for answer in answers} == {YES}
    assert only(found, "device") == (YES, "asks for auto, takes cpu")
    assert only(found, "attention") == (YES, "eager, sdpa")
    assert only(found, "sources") == (YES, "6 local or generated")


def test_what_a_config_asks_for_in_vain_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(config_checks, "available_cores", lambda: 2)
    monkeypatch.setattr(config_checks, "disk_gb", lambda plan: (3.0, 2.0))
    monkeypatch.setattr(config_checks, "free_gb", lambda host: 1.0)
    monkeypatch.setattr(device_checks, "sdpa", broken("boom"))
    overlay = "name: mine\ncompute: {device: cuda}\nprofile: {dtype: [bfloat16], threads: 4}\n"
    found = demands(tmp_path, cpu_host(tmp_path), overlay)
    assert only(found, "device") == (NO, "asks for cuda: this torch is built without CUDA")
    assert [(answer.mark, answer.text.partition(":")[0]) for answer in found["number formats"]] == [
        (YES, "auto"),
        (WARN, "bfloat16"),
    ]
    assert [(answer.mark, answer.text.partition(":")[0]) for answer in found["attention"]] == [
        (YES, "eager"),
        (NO, "sdpa"),
    ]
    assert only(found, "threads")[0] == WARN
    assert only(found, "disk") == (NO, "up to 3.0 GB of weights, of which 2.0 stay; 1.0 GB free")


@pytest.mark.parametrize(
    ("policy", "processes", "mark"),
    [
        ("abort", [(OWN_PID, 1)], YES),
        ("abort", [(OWN_PID, 1), (7, 1)], NO),
        ("abort", [(7, 1)], NO),
        ("mark", [(OWN_PID, 1), (7, 1)], YES),
    ],
)
def test_a_run_that_foreign_processes_would_end_is_told_beforehand(tmp_path: Path, policy, processes, mark):
    host = gpu_host(tmp_path, FakeNvml(processes={"compute": processes}))
    found = demands(tmp_path, host, f"name: mine\nprofile: {{foreign_processes: {policy}}}")
    assert only(found, "foreign processes")[0] == mark


HUB = "{hub: someone/something, revision: abc}"
FROM_HUB = (
    f"name: mine\nmodels: {{bert: {{architecture: bert, source: {HUB}}}}}\n"
    "criteria: {random: {draws: 5, recovery: [retrained]}}\n"
)


def test_hub_sources_are_tried_only_with_the_network(tmp_path: Path, monkeypatch):
    from huggingface_hub import HfApi

    asked = []
    monkeypatch.setattr(host_checks, "hub", lambda host: Finding(YES, "answers"))
    monkeypatch.setattr(HfApi, "repo_info", lambda self, repo, **more: asked.append((repo, more)))
    config = FROM_HUB
    found = demands(tmp_path, cpu_host(tmp_path), config)["sources"]
    assert [answer.mark for answer in found] == [YES, WARN]
    assert found[1].text == "from the hub, not tried without --network: someone/something"
    assert not asked
    found = demands(tmp_path, cpu_host(tmp_path), config, network=True)["sources"]
    assert [answer.mark for answer in found] == [YES, YES]
    assert asked[0][0] == "someone/something"
    assert asked[0][1]["revision"] == "abc"
    monkeypatch.setattr(HfApi, "repo_info", broken("404"))
    found = demands(tmp_path, cpu_host(tmp_path), config, network=True)["sources"]
    assert found[1].mark == NO


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "no such config file"), ("nonsense: 1", "nonsense: unknown key")]
)
def test_a_bad_config_is_one_line_and_exit_code_1(here: Host, tmp_path: Path, capsys, text, reason):
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["doctor", "--config", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_real_host_gives_a_report():
    """With everything as it is here, the compiler included."""
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "qaprune", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert not [check for check in found.values() if check["text"].startswith("the check failed")]
    assert found["sdpa"]["mark"] == YES
