"""What an operation costs: `python -m tests.benchmarks --help`. Not collected by pytest."""
