"""CPU energy from the kernel's RAPL counters: the packages' sum, or why it cannot be read.

Source: Linux kernel documentation, power/powercap. Zones below a package (core, uncore, dram) are parts
of it or beside it, `psys` holds the packages, `intel-rapl-mmio` shows one a second time: none is added.
"""

from __future__ import annotations

from pathlib import Path

from qaprune.profile.outcome import Unavailable

POWERCAP = Path("/sys/class/powercap")
MICRO = 1e-6
PACKAGE_ZONES = "intel-rapl:*"
"""The kernel uses this name on AMD too."""


class RaplCounter:
    """The joules that all CPU packages drew since the counter was made.

    `read` must be called more often than a counter wraps (minutes at full load). Raises `Unavailable` where
    there is no counter or it may not be read; one unreadable package is enough: half a sum is a guess.
    """

    source = "rapl"

    def __init__(self, powercap: Path = POWERCAP):
        self._zones = _packages(powercap)
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in self._zones]
        self._last = [_number(zone / "energy_uj") for zone in self._zones]
        self._microjoules = 0

    def read(self) -> float:
        """Joules of all packages since the start, across wrap-arounds."""
        for index, zone in enumerate(self._zones):
            now = _number(zone / "energy_uj")
            step = now - self._last[index]
            self._microjoules += step if step >= 0 else step + self._ranges[index]
            self._last[index] = now
        return self._microjoules * MICRO


def _packages(powercap: Path) -> list[Path]:
    zones = sorted(powercap.glob(PACKAGE_ZONES))
    packages = [zone for zone in zones if _text(zone / "name").startswith("package")]
    if not packages:
        raise Unavailable("RAPL: this machine shows no CPU package counters")
    return packages


def _number(path: Path) -> int:
    text = _text(path)
    if not text.isdigit():
        raise Unavailable(f"RAPL: {path.name} of {path.parent.name} is not a number")
    return int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except PermissionError:
        raise Unavailable(f"RAPL: {path.name} of {path.parent.name} is readable by root only") from None
    except OSError as error:
        raise Unavailable(f"RAPL: {path.name} of {path.parent.name}: {error.strerror}") from None
