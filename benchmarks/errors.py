"""What a benchmark fails with."""


class BenchmarkError(Exception):
    """The message says what failed, of which peer, and what to do next."""
