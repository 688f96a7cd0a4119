"""What a job's failure means for whoever catches it, and for the person who reads it."""


class JobFailed(RuntimeError):
    """A person has to act; the message says what was found, what is right and what to do."""


class TryLater(OSError):
    """Something outside does not answer now; the next run asks it again."""


class Damaged(ValueError):
    """A file is not what it must be; one of ours is made again."""
