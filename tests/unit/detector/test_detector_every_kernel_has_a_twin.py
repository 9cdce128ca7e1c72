"""No kernel without a test that holds it against a twin: a marked test of hypothesis, of it or of a kernel that it is part of."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import is_hypothesis_test
from numba.core.registry import CPUDispatcher

import services.detector

Test = Callable[..., Any]


def all_kernels() -> dict[str, Any]:
    """Every compiled function of the detector by name."""
    found = {}
    for module in pkgutil.walk_packages(services.detector.__path__, "services.detector."):
        if not module.name.endswith("__main__"):
            loaded = importlib.import_module(module.name)
            found |= {name_of(k): k for k in vars(loaded).values() if isinstance(k, CPUDispatcher)}
    return found


def name_of(kernel: Any) -> str:
    return f"{kernel.py_func.__module__.removeprefix('services.detector.core.')}.{kernel.py_func.__name__}"


def marked_tests() -> Iterator[Test]:
    """The tests beside this file that say of which kernels they are."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if "@against_twin" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(f"tests.unit.detector.{path.stem}")
            yield from (test for test in vars(module).values() if hasattr(test, "kernels"))


def parts_of(kernel: Any) -> Iterator[Any]:
    """The kernels whose names a kernel's code uses, as they are or as an attribute of a module."""
    used, within = kernel.py_func.__code__.co_names, kernel.py_func.__globals__
    for name in used:
        for owner in (within.get(name), *(getattr(within.get(module), name, None) for module in used)):
            if isinstance(owner, CPUDispatcher):
                yield owner


def made_of(kernels: list[Any]) -> set[str]:
    """The names of kernels and all of their parts."""
    found: set[str] = set()
    left = list(kernels)
    while left:
        kernel = left.pop()
        if name_of(kernel) not in found:
            found.add(name_of(kernel))
            left += parts_of(kernel)
    return found


def test_every_kernel_is_held_against_a_twin() -> None:
    kernels = [kernel for test in marked_tests() for kernel in test.kernels]
    assert set(all_kernels()) - made_of(kernels) == set()


def test_what_is_marked_is_a_test_of_hypothesis_and_of_kernels() -> None:
    for test in marked_tests():
        assert is_hypothesis_test(test), test.__name__
        assert all(isinstance(kernel, CPUDispatcher) for kernel in test.kernels), test.__name__


def test_a_kernel_without_a_test_is_noticed() -> None:
    """Else the first test would prove nothing."""
    kernels = all_kernels()
    assert "signal.course.follow" in kernels
    assert "signal.course.follow" in made_of([kernels["signal.minutes.close"]])
    assert "signal.minutes.close" not in made_of([kernels["signal.course.follow"]])
