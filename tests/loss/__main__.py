"""The test of loss by hand: `python -m tests.loss --messages 20000` prints what docs/reliability.md tells, as JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.loss.run import CONNECTIONS, Plan, run


def main() -> int:
    """Run it and print the outcome; status 1 where anything was lost, doubled or out of order."""
    parser = argparse.ArgumentParser(prog="python -m tests.loss", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--kills", type=int, default=20, help="of each: listener, worker, broker, PostgreSQL, backend")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="rabbitmq")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="concord-loss-") as folder:
        outcome = run(Plan(**vars(given)), Path(folder))
    print(msgspec.json.encode(outcome).decode())
    return 0 if outcome.verdict.clean and outcome.messages == given.messages else 1


if __name__ == "__main__":
    sys.exit(main())
