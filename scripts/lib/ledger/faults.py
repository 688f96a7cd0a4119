"""Faults: why a raw frame is held back, as a code for programs and as words for people."""

from dataclasses import dataclass
from enum import Enum, auto


class Concern(Enum):
    """What a held-back frame means for its night."""

    FAULT = auto()  # reported, and counted against max_held
    RETRIED = auto()  # the same, and copied again as soon as the source has it
    EXPECTED = auto()  # no fault: engineering exposures, files that are not frames


class Reason(Enum):
    """Why a frame is held back: the words for people, in which ``{}`` is a keyword."""

    # What lies at the source
    NOT_COPIED = "could not be copied", Concern.RETRIED
    GONE = "no longer at the source, and not here", Concern.RETRIED
    TOO_LARGE = "larger than a frame of this camera", Concern.FAULT
    COMPRESSED = "compressed: not a frame as Astra writes it", Concern.FAULT
    NOT_A_FILE = "not a regular file", Concern.FAULT
    UNREADABLE_ENTRY = "cannot be looked at", Concern.FAULT
    UNSAFE_NAME = "file name that cannot be used", Concern.FAULT
    NOT_A_FRAME = "not a frame", Concern.EXPECTED
    # The file
    EMPTY = "empty file", Concern.FAULT
    NO_HEADER = "no readable header", Concern.FAULT
    LONG_HEADER = "header too long", Concern.FAULT
    NOT_PRINTABLE = "text that is not printable ASCII", Concern.FAULT
    NOT_AN_IMAGE = "not an image as Astra writes it", Concern.FAULT
    TRUNCATED = "truncated", Concern.FAULT
    TRAILING_BYTES = "bytes after the image", Concern.FAULT
    WRONG_DATASUM = "wrong DATASUM", Concern.FAULT
    WRONG_CHECKSUM = "wrong CHECKSUM", Concern.FAULT
    CONSTANT = "constant image", Concern.FAULT
    # The header
    MISSING = "no {}", Concern.FAULT
    UNREADABLE = "unreadable {}", Concern.FAULT
    OUT_OF_RANGE = "{} out of range", Concern.FAULT
    UNKNOWN = "unknown {}", Concern.FAULT
    WRONG_TELESCOPE = "wrong telescope", Concern.FAULT
    ENGINEERING = "engineering exposure", Concern.EXPECTED
    OUTSIDE_NIGHT = "DATE-OBS outside the night", Concern.FAULT
    INCOMPLETE = "header not completed by Astra yet", Concern.FAULT
    WRONG_READ_OUT = "wrong read-out", Concern.FAULT
    WRONG_SIZE = "wrong size", Concern.FAULT
    # Other frames, solving, the gate
    DUPLICATE = "duplicate", Concern.FAULT
    NAME_CLASH = "name clash", Concern.FAULT
    CHANGED = "other pixels than those delivered", Concern.FAULT
    UNSOLVED = "unsolved", Concern.FAULT
    REFUSED = "refused by check {}", Concern.FAULT
    CLASH = "ESO has a product of this name", Concern.FAULT
    OTHER = "held back", Concern.FAULT  # a text of an earlier version that has no code

    def __init__(self, words: str, concern: Concern):
        self.words, self.concern = words, concern


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
        return self.reason.words.format(self.subject)

    def __str__(self) -> str:
        return f"{self.heading}: {self.detail}" if self.detail else self.heading

    @property
    def expected(self) -> bool:
        """Whether every night has such frames: no mail, not counted against max_held."""
        return self.reason.concern is Concern.EXPECTED

    @property
    def has_copy(self) -> bool:
        """Whether the frame was copied, so that it can be judged again."""
        return self.reason not in NEVER_COPIED and not self.retried

    @property
    def retried(self) -> bool:
        """Whether the frame may be copied, and so judged, another time."""
        return self.reason.concern is Concern.RETRIED


class BadFrame(ValueError):
    """A frame that cannot be delivered; the rest of the night can."""

    def __init__(self, reason: Reason, detail: str = "", subject: str = ""):
        self.fault = Fault(reason, detail, subject)
        super().__init__(str(self.fault))
