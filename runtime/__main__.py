"""`python -m hemline.runtime COMMAND …`."""

import sys

from hemline.runtime.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], program="python -m hemline.runtime"))
