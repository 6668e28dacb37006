"""Name the packages: each folder with an __init__.py below hemline/ and below the four stages."""

from setuptools import find_packages, setup

STAGES = ("train", "export", "runtime", "bench")
FOLDERS = {"hemline": "hemline", **{f"hemline.{stage}": stage for stage in STAGES}}

setup(
    package_dir=FOLDERS,
    packages=[
        name
        for package, folder in FOLDERS.items()
        for name in (package, *(f"{package}.{below}" for below in find_packages(folder)))
    ],
)
