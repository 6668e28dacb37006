"""Let this environment find the checkout's `hemline` before a folder of that name.

Without it, a script beside a clone named hemline/ imports the clone's own folder, as a namespace
package without modules: the finder of an editable install comes last.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

LINE = (
    "import sys; sys.meta_path.sort("
    'key=lambda each: not getattr(each, "__module__", "").startswith("__editable___hemline"))\n'
)

if __name__ == "__main__":
    # read after the editable install's own file, whose name begins with an underscore
    Path(sysconfig.get_path("purelib"), "hemline_first.pth").write_text(LINE)
