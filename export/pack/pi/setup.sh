#!/bin/sh
# Make env/ beside this file, from wheels/ if it is there, else from the package index; then test.
set -e
cd "$(dirname "$0")"
python3 -m venv @VENV@ env || { echo "error: sudo apt-get install @PACKAGES@" >&2; exit 1; }
if [ -d wheels ]; then set -- --no-index --find-links wheels; fi
# what the runtimes' packages name as their needs is not needed here
env/bin/python -m pip --disable-pip-version-check install --quiet --no-deps "$@" -r requirements.txt
env/bin/python selftest.py
