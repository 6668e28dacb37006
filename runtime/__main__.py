"""Start the job runner: `python -m hemline.runtime jobs`."""

from __future__ import annotations

import sys

from hemline.errors import HemlineError, UsageError


def main(arguments: list[str]) -> int:
    """Run one of the runtime's own commands; return the exit code."""
    try:
        if arguments != ["jobs"]:
            raise UsageError("usage: python -m hemline.runtime jobs")
        from hemline.runtime.job import serve_standard_streams

        serve_standard_streams()
    except HemlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (BrokenPipeError, KeyboardInterrupt):
        return 1  # whoever asked is gone
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
