"""The runtimes that jobs can run in: those installed beside Hemline, and those in environments."""

from __future__ import annotations

import platform
from collections.abc import Iterable

import numpy as np

from hemline.contract.stamp import Stamp
from hemline.environments.environment import (
    Requirement,
    RuntimeTarget,
    environments,
    find_environments,
    minor_of,
    target_of,
)
from hemline.errors import UsageError, remedy
from hemline.runtime.backends import BACKENDS, find_backend
from hemline.runtime.discovery import FoundRuntime, look_up, none_installed, working_or_warn
from hemline.runtime.one_file import runtime_file
from hemline.runtime.process import local_command

INSTALLED, ALL = "installed", "all"


def installed_targets() -> tuple[RuntimeTarget, ...]:
    """Return the runtimes that work beside Hemline, in the order of BACKENDS.

    Raises BackendError when some are installed and none of them works.
    """
    return tuple(_target(found) for found in working_or_warn())


def first_supported(targets: Iterable[RuntimeTarget], stamp: Stamp) -> RuntimeTarget:
    """Return the first runtime that supports an artifact.

    Raises BackendError when none opens such files, UnsupportedRuntimeError when none supports it.
    """
    fitting = [each for each in targets if BACKENDS[each.runtime].format == stamp.format]
    if not fitting:
        raise none_installed(stamp.format)
    supported = [each for each in fitting if stamp.supports(each.runtime, each.version)]
    if not supported:
        stamp.require_supported(fitting[0].runtime, fitting[0].version)
    return supported[0]


def find_targets(names: Iterable[str]) -> tuple[RuntimeTarget, ...]:
    """Return the targets of these names, each once; without names the installed ones.

    A name is installed, all, a runtime (the installed one), or a runtime and a version, perhaps
    with a Python: litert==1.4.0@3.12. Raises UsageError or UnknownNameError for one that is not
    installed, BackendError for an environment that is broken.
    """
    found: dict[str, RuntimeTarget] = {}
    for name in tuple(names) or (INSTALLED,):
        for target in _named(name):
            found.setdefault(target.name, target)
    return tuple(found.values())


def _named(name: str) -> tuple[RuntimeTarget, ...]:
    if name == INSTALLED:
        return installed_targets()
    if name == ALL:
        added = (target_of(*each, runtime_file()) for each in environments()[0])
        return (*installed_targets(), *added)
    return (_one(Requirement.parse(name)),)


def _one(requirement: Requirement) -> RuntimeTarget:
    backend = find_backend(requirement.runtime)
    installed = look_up(backend)
    if installed is not None and installed.problem is None:
        here = _target(installed)
        same_python = requirement.python in (None, here.python)
        if requirement.version in (None, here.version) and same_python:
            return here
    if requirement.version is None:
        if installed is not None and installed.problem is not None:
            raise installed.problem
        raise UsageError(
            f"{requirement.runtime} is not installed here: pip install {backend.packages}",
            remedy=remedy("name version"),
        )
    found = find_environments(requirement)
    this = minor_of(platform.python_version())
    here_first = [pair for pair in found if minor_of(pair[1].python_version) == this] or found
    return target_of(*here_first[-1], runtime_file())


def _target(found: FoundRuntime) -> RuntimeTarget:
    """Return the target of an installed runtime; its jobs run in processes of their own."""
    return RuntimeTarget(
        runtime=found.name,
        version=found.version,
        python_version=platform.python_version(),
        numpy_version=np.__version__,
        command=local_command(),
    )
