"""`hemline --help` against a bare program of click with as many commands."""

from __future__ import annotations

import statistics

from measurement import Result, installed_package, interleaved, median_ratio, process_cost, report

from hemline.cli import COMMANDS

_ROUNDS, _LIMIT = 21, 1.5
_OURS = "import sys; sys.argv = ['hemline', '--help']; from hemline.cli import main; main()"
_BARE = """
import click
group = click.Group("bare", help="A program.")
for number in range({count}):
    group.add_command(click.Command(f"command-{number}", help="Do something with something."))
group(["--help"])
"""


def main() -> None:
    """Measure both in turn and write the result."""
    bare_code = _BARE.replace("{count}", str(len(COMMANDS)))
    with installed_package() as path:

        def seconds(code: str) -> float:
            return process_cost(code, path=path)[0]

        seconds(_OURS), seconds(bare_code)  # fill the page cache
        ours, bare = interleaved(lambda: seconds(_OURS), lambda: seconds(bare_code), _ROUNDS)
    ratio = median_ratio(ours, bare)
    times = [1000 * statistics.median(each) for each in (ours, bare)]
    report(
        "help",
        [
            Result(
                claim=f"hemline --help: at most {_LIMIT} × a bare program of click",
                value=ratio,
                unit="×",
                met=ratio <= _LIMIT,
                detail=f"{times[0]:.0f} ms, bare {times[1]:.0f} ms",
            )
        ],
    )


if __name__ == "__main__":
    main()
