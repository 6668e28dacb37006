#!/bin/sh
# Classify frames of the board's camera, one JSON line each, until Ctrl-C: camera.sh [FRAMES/SECOND]
cd "$(dirname "$0")" || exit 1
[ -x env/bin/python ] || { echo "error: run ./setup.sh first" >&2; exit 1; }
command -v rpicam-vid >/dev/null || {
  echo "error: there is no rpicam-vid: apt-get install rpicam-apps" >&2; exit 1; }
rpicam-vid -n -t 0 --codec @CODEC@ --width 640 --height 480 --framerate "${1:-5}" --flush -o - |
  env/bin/python hemline-runtime.pyz classify @ARTIFACT@ @FRAMES@ --quiet
