"""Kinds of failure, named for what to do next."""


class JobFailed(RuntimeError):
    """A person has to act; the message says what was found, what is right and what to do."""


class TryLater(OSError):
    """Something outside does not answer now; the next run tries again."""


class Damaged(ValueError):
    """A file is not what it must be; one of ours is made again."""
