"""The runtimes that jobs can run in here: those beside Hemline, and the environments added."""

from __future__ import annotations

import functools
import logging
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hemline.environments.environment import (
    Requirement,
    RuntimeTarget,
    environments,
    find_environments,
    minor_of,
    target_of,
)
from hemline.errors import BackendError, UsageError, remedy
from hemline.runtime.backends import (
    BACKENDS,
    Backend,
    find_backend,
    installed,
    require_numpy,
    version_of,
)
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.runtime.process import local_command

INSTALLED, ALL = "installed", "all"


@functools.cache
def runtime_file() -> bytes:
    """Return the packed one-file runtime of these sources."""
    with tempfile.TemporaryDirectory(prefix="hemline-") as folder:
        path = Path(folder) / NAME
        write_runtime_file(path)
        return path.read_bytes()


def installed_targets() -> tuple[RuntimeTarget, ...]:
    """Return the runtimes that work beside Hemline, in the order of BACKENDS.

    Raises BackendError when some are installed and none of them works.
    """
    targets, reasons = [], []
    for backend in filter(installed, BACKENDS.values()):
        try:
            target = _installed(backend)
        except BackendError as error:
            reasons.append(str(error))
            continue
        targets.append(target)
    if reasons and not targets:
        raise BackendError("; ".join(reasons))
    for reason in reasons:
        logging.getLogger(__name__).warning("%s; it is left out", reason)
    return tuple(targets)


def added_targets() -> tuple[RuntimeTarget, ...]:
    """Return the environments that were added, oldest version first.

    Raises BackendError for one that is broken.
    """
    return tuple(target_of(folder, record, runtime_file()) for folder, record in environments()[0])


def find_targets(names: Iterable[str]) -> tuple[RuntimeTarget, ...]:
    """Return the targets that are asked for, each once; without names the installed ones.

    A name is installed, all, a runtime (the installed one), or a runtime and a version, perhaps
    with a Python: litert==1.4.0@3.12. Raises UsageError or UnknownNameError for what is not here,
    BackendError for an environment that is broken.
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
        return (*installed_targets(), *added_targets())
    return (_one(Requirement.parse(name)),)


def _one(requirement: Requirement) -> RuntimeTarget:
    backend = find_backend(requirement.runtime)
    if installed(backend):
        try:
            here = _installed(backend)
        except BackendError:
            if requirement.version is None:  # an environment may have the version that is named
                raise
        else:
            same_python = requirement.python in (None, here.python)
            if requirement.version in (None, here.version) and same_python:
                return here
    if requirement.version is None:
        raise UsageError(
            f"{requirement.runtime} is not installed here: pip install 'hemline[{backend.extra}]'",
            remedy=remedy("name version"),
        )
    found = find_environments(requirement)
    here_first = [p for p in found if minor_of(p[1].python_version) == _this_python()] or found
    return target_of(*here_first[-1], runtime_file())


def _installed(backend: Backend) -> RuntimeTarget:
    """Return the target of an installed runtime; its jobs run in processes of their own.

    Raises BackendError when it is broken.
    """
    require_numpy(backend)
    return RuntimeTarget(
        runtime=backend.name,
        version=version_of(backend),
        python_version=platform.python_version(),
        numpy_version=np.__version__,
        command=local_command(),
        added=False,
    )


def _this_python() -> str:
    return minor_of(platform.python_version())
