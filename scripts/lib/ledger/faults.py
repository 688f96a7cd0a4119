"""Faults: why a raw frame is held back, as a code for programs and as words for people."""

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why a frame is held back: the words for people, in which ``{}`` is a keyword."""

    # What lies at the source
    NOT_COPIED = "could not be copied"
    GONE = "no longer at the source, and not here"
    TOO_LARGE = "larger than a frame of this camera"
    COMPRESSED = "compressed: not a frame as Astra writes it"
    NOT_A_FILE = "not a regular file"
    UNREADABLE_ENTRY = "cannot be looked at"
    UNSAFE_NAME = "file name that cannot be used"
    NOT_A_FRAME = "not a frame"
    # The file
    EMPTY = "empty file"
    NO_HEADER = "no readable header"
    LONG_HEADER = "header too long"
    NOT_PRINTABLE = "text that is not printable ASCII"
    NOT_AN_IMAGE = "not an image as Astra writes it"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "bytes after the image"
    WRONG_DATASUM = "wrong DATASUM"
    WRONG_CHECKSUM = "wrong CHECKSUM"
    CONSTANT = "constant image"
    # The header
    MISSING = "no {}"
    UNREADABLE = "unreadable {}"
    OUT_OF_RANGE = "{} out of range"
    UNKNOWN = "unknown {}"
    WRONG_TELESCOPE = "wrong telescope"
    ENGINEERING = "engineering exposure"
    OUTSIDE_NIGHT = "DATE-OBS outside the night"
    OTHER_TIME = "times are not in UTC"
    CONTRADICTION = "contradiction of {}"
    INCOMPLETE = "header not completed by Astra yet"
    WRONG_READ_OUT = "wrong read-out"
    WRONG_SIZE = "wrong size"
    # Other frames, solving, the gate
    DUPLICATE = "duplicate"
    NAME_CLASH = "name clash"
    CHANGED = "other pixels than those delivered"
    UNSOLVED = "unsolved"
    REFUSED = "refused by check {}"
    CLASH = "ESO has a product of this name"
    OTHER = "held back"  # a text of an earlier version that has no code


# Every night has such frames: no mail, not counted against max_held.
EXPECTED = (Reason.ENGINEERING, Reason.NOT_A_FRAME)
# Copied, and so judged, another time, as soon as the source has the frame.
RETRIED = (Reason.NOT_COPIED, Reason.GONE)
# Known from the listing of the source alone: there is no copy that could be judged.
NEVER_COPIED = frozenset(
    {
        Reason.TOO_LARGE,
        Reason.COMPRESSED,
        Reason.NOT_A_FILE,
        Reason.UNREADABLE_ENTRY,
        Reason.UNSAFE_NAME,
        Reason.NOT_A_FRAME,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one frame is held back."""

    reason: Reason
    detail: str = ""  # what was found and what is right
    subject: str = ""  # the keyword, or the check, that the reason names

    @property
    def heading(self) -> str:
        """The reason without the detail: what frames are grouped by."""
        return self.reason.value.format(self.subject)

    def __str__(self) -> str:
        return f"{self.heading}: {self.detail}" if self.detail else self.heading

    @property
    def expected(self) -> bool:
        """Whether every night has such frames."""
        return self.reason in EXPECTED

    @property
    def has_copy(self) -> bool:
        """Whether the frame was copied, so that it can be judged again."""
        return self.reason not in NEVER_COPIED and not self.retried

    @property
    def retried(self) -> bool:
        """Whether the frame may be copied, and so judged, another time."""
        return self.reason in RETRIED


class BadFrame(ValueError):
    """A frame that cannot be delivered; the rest of the night can."""

    def __init__(self, reason: Reason, detail: str = "", subject: str = ""):
        self.fault = Fault(reason, detail, subject)
        super().__init__(str(self.fault))
