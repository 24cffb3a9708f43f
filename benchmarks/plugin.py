"""Two corrections of pytest-benchmark, for `benchmarks.run`: what a machine is, how a regression ends."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from pytest_benchmark.session import PerformanceRegression

from benchmarks.run import MACHINE, REGRESSION


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """What the fingerprint covers; the default keeps the host's name and warns of each change of clock."""
    return json.loads(os.environ[MACHINE])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Any:
    """The slower benchmarks are listed by then; a traceback behind the list would only hide it."""
    try:
        return (yield)
    except PerformanceRegression:
        session.exitstatus = REGRESSION
        return None
