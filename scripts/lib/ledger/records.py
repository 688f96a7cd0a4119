"""What the ledger holds: raw frames, products and nights, each as one typed record."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from scripts.lib.ledger.faults import Fault


class FileState(NamedTuple):
    """What shows that a file has changed: bytes, and time of last change (ns)."""

    bytes: int
    mtime_ns: int


# The state of a frame of which there is no copy: never that of a file.
NOT_COPIED = FileState(-1, -1)


class Entry(NamedTuple):
    """An entry of a night's folder at the source."""

    name: str  # path below the night's folder, of plain names with "/" between
    state: FileState
    fault: Fault | None = None  # why it cannot be a frame, whatever is in it


class Status(StrEnum):
    """How far a raw frame has come."""

    SEEN = "seen"  # listed at the source
    COPIED = "copied"
    HELD = "held"
    ASSIGNED = "assigned"  # to a product, which is to be made
    STAGED = "staged"  # the product is about to be published: it may have been
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"  # ESO's archive shows the product


# From here on a frame keeps its product.
DELIVERY = frozenset({Status.STAGED, Status.DELIVERED, Status.CONFIRMED})
DONE = frozenset({Status.DELIVERED, Status.CONFIRMED})
GOOD = DELIVERY | {Status.ASSIGNED}


class Measures(NamedTuple):
    """Statistics of a frame's pixels, from a sample of them: ADU; ``saturated`` is a share."""

    median: float
    sigma: float  # half the range between the percentiles 15.87 and 84.13
    p1: float
    p99: float
    saturated: float  # of the pixels, at the top of the converter's range


@dataclass(frozen=True, slots=True)
class Frame:
    """One raw frame. A value that is not known yet is empty, 0 or None."""

    night: str
    file: str  # path below the night's folder at the source
    version: int = 0  # one more each time that a delivered frame was changed at the source
    source: FileState = NOT_COPIED  # in which it was copied
    datasum: int | None = None  # ones'-complement sums of data and header of the file
    header_sum: int | None = None
    pixel_sum: int | None = None  # the same of the pixels with the fill that products have, zeros
    status: Status = Status.SEEN
    fault: Fault | None = None  # why it is held back
    kind: str = ""
    object: str = ""
    filter: str = ""
    exptime: float = 0.0  # s
    date_obs: datetime | None = None  # begin of the exposure, UTC, cut to the millisecond
    data_start: int = 0  # bytes before the pixels
    naxis1: int = 0
    naxis2: int = 0
    eso_name: str = ""
    sequence: str = ""
    product: str = ""
    programme: str = ""
    delivery: int = 0  # requests to deliver the night again that its delivery has honoured
    # Taken while it was copied. The ledger stores them, and returns them apart: `Ledger.measures`.
    measures: Measures | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from other frames of its night."""
        return self.file, self.version

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.naxis2, self.naxis1

    @property
    def pixel_bytes(self) -> int:
        """Bytes of its pixels, without fill."""
        return 2 * self.naxis1 * self.naxis2

    @property
    def begin(self) -> datetime:
        """Begin of the exposure of a good frame."""
        if self.date_obs is None:
            raise ValueError(f"{self.file} has no DATE-OBS")
        return self.date_obs

    @property
    def pixels(self) -> int:
        """Sum of the pixels of a good frame."""
        if self.pixel_sum is None:
            raise ValueError(f"{self.file} has no sum of its pixels")
        return self.pixel_sum


@dataclass(frozen=True, slots=True)
class Product:
    """A file for ESO that was delivered, or is about to be."""

    name: str
    night: str
    target: str  # what its job is called after: the cube, or the frame's sequence
    programme: str
    dp_id: str  # ESO's name
    bytes: int
    datasum: int
    checksum: str  # as the header states it
    verdict: str  # of the gate
    delivery: int = 0  # see `Frame`
    delivered: datetime | None = None
    confirmed: datetime | None = None  # when ESO's archive first showed it

    def same_file(self, other: "Product") -> bool:
        """Return whether two products are one and the same file but for when it was written."""
        return (self.name, self.datasum) == (other.name, other.datasum)


@dataclass(frozen=True, slots=True)
class Intent:
    """A product under a hidden name in the archive directory, about to get its final name."""

    product: Product
    hidden: str


@dataclass(frozen=True, slots=True)
class Night:
    """What is known of a night as a whole."""

    night: str
    judged: str = ""  # digest of what its frames were judged by: corrections, configuration, ...
    refused: str = ""  # the same, of when too many of its frames were held back
    programme: str = ""  # id of its frames that no entry of `programmes` assigns
    named: bool = False  # by hand: then it is the id of all frames
    redeliver: int = 0  # how often somebody asked to deliver it again
    snapshot: str = ""  # digest of its frames.csv
    listing: str = ""  # digest of what lay at the source when it was copied last
    retried: str = ""  # date on which frames that could not be copied were tried last
    reported: bool = False  # whether its page was written since the last change


class Transfer(NamedTuple):
    """How many products of a programme a night gave.

    ``own`` is the id of the night's frames that nothing assigns, ``programme`` that of the
    products; both may be empty.
    """

    night: str
    own: str
    programme: str
    products: int


class Outcomes(NamedTuple):
    """How many frames of a night are to be dealt with, held back, not copied."""

    open: int
    held: int
    uncopied: int
