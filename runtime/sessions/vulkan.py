"""Ask the Vulkan library which GPUs it offers, and which of them are programs in their place.

Through ctypes, because no Python package that a device would have can tell. Layouts and numbers:
https://registry.khronos.org/vulkan/specs/1.3/html/vkspec.html (VkInstanceCreateInfo,
VkPhysicalDeviceProperties, VkPhysicalDeviceType).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_LIBRARY = "vulkan-1.dll" if sys.platform == "win32" else "libvulkan.so.1"
_INSTANCE_CREATE_INFO = 1  # VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
_MOST_ADAPTERS = 16
_PROPERTIES_BYTES = 4096  # VkPhysicalDeviceProperties has 824
_TYPE_AT, _NAME_AT, _NAME_BYTES = 16, 20, 256
_TYPE_CPU = 4  # VK_PHYSICAL_DEVICE_TYPE_CPU


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


def _adapters() -> tuple[tuple[str, bool], ...]:
    """Return the name of each device that Vulkan offers, and whether it is a program.

    Empty without a driver, and on a system whose GPUs are reached without Vulkan.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return ()
    instance = ctypes.c_void_p()
    info = _InstanceCreateInfo(type=_INSTANCE_CREATE_INFO)
    if library.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)) != 0:
        return ()
    try:
        return tuple(_adapter(library, device) for device in _devices(library, instance))
    finally:
        library.vkDestroyInstance(instance, None)


def software_adapter() -> str | None:
    """Return the name of the software that stands in for a GPU here, None where none needs to.

    Whoever picks an adapter prefers a real one, so a software one counts only where it is alone.
    """
    found = _adapters()
    return found[0][0] if found and all(software for _, software in found) else None


def _devices(library: Any, instance: ctypes.c_void_p) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint32(_MOST_ADAPTERS)
    handles = (ctypes.c_void_p * _MOST_ADAPTERS)()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    return [ctypes.c_void_p(handle) for handle in handles[: count.value] if handle]


def _adapter(library: Any, device: ctypes.c_void_p) -> tuple[str, bool]:
    properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    library.vkGetPhysicalDeviceProperties(device, properties)
    name = properties.raw[_NAME_AT : _NAME_AT + _NAME_BYTES].split(b"\0")[0]
    kind = int.from_bytes(properties.raw[_TYPE_AT : _TYPE_AT + 4], sys.byteorder)
    return name.decode(errors="replace"), kind == _TYPE_CPU
