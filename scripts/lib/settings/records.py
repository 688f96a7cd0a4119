"""The keys of a telescope's configuration: type, default, unit, meaning and rules of each.

This is their one place: config/schema.yaml and config/telescope.yaml.example are written from it by
`make docs`. The text below a key is its description: what it means, in which unit, which form it
must have. A key without a default must be in the file. Every job imports this module: it needs the
standard library only.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from scripts.lib.settings.telescopes import Site, telescopes

PROGRAMME = r"^(\d{2,3}\.[A-Z]-\d{4}\([A-Z]{1,2}\)|\d{3}\.[A-Z0-9]{4}\.\d{3})$"
MAIL_ADDRESS = r"^[^\r\n]*[!-~]+@[!-~]+$"
MAIL_ADDRESSES = {"items": {"type": "string", "pattern": MAIL_ADDRESS}}
# A name or an address, then perhaps a port; an address of IPv6 with a port is in brackets.
MAIL_HOST = r"^(([^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?|[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,})$"
SERVICE = r"^(https://|http://(localhost|127\.0\.0\.1)[:/])"
ABSOLUTE_OR_EMPTY = "^(/|$)"

Record = TypeVar("Record")


def key(default: Any = MISSING, **rules: Any) -> Any:
    """Declare a key with rules, by their names in JSON schema.

    ``name`` is the key's name in the file, if it is not that of the attribute.
    """
    return field(default=default, metadata=rules)


def choice(default: str, *others: str) -> Any:
    """Declare a key with one of some words."""
    return key(default, enum=[default, *others])


def record_of(record: type[Record], settings: Mapping[str, Any]) -> Record:
    """Return the record of settings that the schema allows; keys that they lack get defaults."""
    values = {}
    for one in fields(record):  # type: ignore[arg-type]
        name = one.metadata.get("name", one.name)
        if name in settings:
            values[one.name] = converted(settings[name], one.type)
    return record(**values)


def converted(value: Any, kind: Any) -> Any:
    """Return a value of YAML as the type that its attribute has."""
    if is_dataclass(kind):
        return record_of(kind, value)  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        return tuple(converted(one, get_args(kind)[0]) for one in value)
    if kind is str:
        return "" if value is None else str(value)
    return Path(value) if kind is Path else value


@dataclass(frozen=True, slots=True)
class Camera:
    """The camera on the telescope."""

    name: str = key(examples=["SPIRIT"])
    """INSTRUME as the observatory software writes it."""
    naxis1: int = key(minimum=1, examples=[1024])
    """Width of a full frame, pixels."""
    naxis2: int = key(minimum=1, examples=[1280])
    """Height of a full frame, pixels."""
    pixel_scale: float = key(exclusiveMinimum=0, examples=[0.309])
    """Arcseconds a pixel, without binning; right to 2 %."""
    rotation: float = 0
    """Position angle of the frame's +y on either side of the pier, degrees, north over east; right
    to 2 degrees it saves time.
    """
    parity: int = key(1, enum=[1, -1])
    """1 if frames show the sky as it is seen, -1 if mirrored; the right one saves time."""
    band: str = choice("g", "j")
    """Catalogue magnitude that ranks stars: g (optical), j (infrared)."""
    fixed_pattern: bool = False
    """Whether stars stand out only once a dark is subtracted (infrared cameras). Products keep the
    raw pixels.
    """
    saturation: float = key(65_000, exclusiveMinimum=0)
    """ADU from which on a pixel is saturated: such a star hardly counts for the position."""
    match_radius: float = key(5.5, exclusiveMinimum=0)
    """Pixels within which a star is that of the catalogue when solving begins; at least 2 arcsec.
    """
    largest_residual: float = key(2.2, exclusiveMinimum=0)
    """Pixels, rms, that the stars of a solution may be off; at least 0.8 arcsec."""
    search_radius: float = key(13, exclusiveMinimum=0)
    """Arcminutes along an axis by which the pointing may be off."""
    engine_radius: float = key(0.3, exclusiveMinimum=0)
    """Degrees around the pointing that the astrometry.net engine searches."""


@dataclass(frozen=True, slots=True)
class EarlierCamera:
    """Nights in which the telescope had another camera."""

    camera: Camera
    """That camera."""
    nights: str = key(type=["string", "integer"])
    """YYYYMMDD, several with blanks between, or YYYYMMDD-YYYYMMDD."""
    products: str = key(enum=["cubes", "frames"])
    """What ESO gets of it."""


@dataclass(frozen=True, slots=True)
class ProgrammeEntry:
    """Nights, or targets of a night, that belong to another programme."""

    nights: str = key(type=["string", "integer"])
    """YYYYMMDD, several with blanks between, or YYYYMMDD-YYYYMMDD."""
    programme: str = key("", pattern=f"^$|{PROGRAMME}", examples=["110.23WX.001"])
    """ESO programme id, such as 60.A-9099(A) or 110.23WX.001. Without it the night is refused until
    its programme is known, instead of delivered under another one.
    """
    targets: tuple[str, ...] = ()
    """Patterns of OBJECT (* ?); without them the whole night, calibrations too."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Space that must be free before a run begins."""

    workdir: float = key(20, minimum=0)
    """Gigabytes on the disk of workdir."""
    archive: float = key(5, minimum=0)
    """Gigabytes on the disk of archive."""


@dataclass(frozen=True, slots=True)
class Mail:
    """Who gets a report of how a run ended, and through which server."""

    when: str = choice("problems", "always", "never")
    """problems: when jobs failed, or frames were held back that no mail has reported; always: after
    every run that had something to do; never.
    """
    sender: str = key(
        "", name="from", pattern=MAIL_ADDRESS, examples=["SPECULOOS archive <archive@obs.example>"]
    )
    """Sender, name@host or Some Name <name@host>."""
    to: tuple[str, ...] = key((), **MAIL_ADDRESSES, examples=[["duty@obs.example"]])
    """Recipients; empty for no mail."""
    cc: tuple[str, ...] = key((), **MAIL_ADDRESSES, examples=[["pi@obs.example"]])
    """Recipients of a copy."""
    host: str = key("", pattern=MAIL_HOST, examples=["mail.obs.example"])
    """Mail server, by the name in its certificate, or host:port."""
    port: int | None = key(None, minimum=1, maximum=65535, examples=[587])
    """Of the mail server; without it that of host:port, else 587 for starttls, 465 for tls, 25 for
    none.
    """
    security: str = choice("starttls", "tls", "none")
    """starttls, tls (from the first byte), or none: only for a server on this machine."""
    timeout: float = key(20, exclusiveMinimum=0)
    """Seconds to wait for each answer of the server; all mails of a run get six times that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Configuration of one telescope.

    One file per telescope; every key can be overridden with --config key=value.
    """

    telescope: str = key(enum=lambda: list(telescopes()), examples=["Callisto"])
    """A row of config/telescopes.csv."""
    source: str = key(pattern=r"^(/|[a-z]+://(?![^/]*:[^/]*@))", examples=["/data/source/Callisto"])
    """Where the nights are read from, one folder YYYYMMDD each: an absolute folder,
    smb://user@host[:port]/share/path or sftp://user@host[:port]/path; never with a password, which
    is in the environment (SPECULOOS_SOURCE_PASSWORD).
    """
    source_mounted: bool = False
    """Whether the source is on a mounted share, or a mount point itself: if nothing is mounted
    there the run fails, instead of finding no nights, and reads have a time limit.
    """
    workdir: Path = key(examples=["/data/archive-work/Callisto"])
    """Folder for everything the workflow makes; absolute."""
    archive: Path = key(examples=["/data/eso"])
    """Directory from which ESO collects; absolute, must exist."""
    site: str = key("", pattern=ABSOLUTE_OR_EMPTY, examples=["/data/speculoos-pages"])
    """Folder of the pages of all nights, shared by all telescopes; absolute; empty for none."""
    nights: str = key(type=["string", "integer", "null"], examples=[""])
    """Nights to bring up to date: YYYYMMDD, several with blanks between, or YYYYMMDD-YYYYMMDD;
    empty for the last night and missed ones.
    """
    programme: str = key(pattern=PROGRAMME, examples=["60.A-9009(D)"])
    """ESO programme id of the night's frames, such as 60.A-9099(A) or 110.23WX.001; a night that
    was delivered keeps its own.
    """
    products: str = key(enum=["cubes", "frames"])
    """What ESO gets: one cube per sequence, or every frame."""
    catalogue: str = key(pattern=ABSOLUTE_OR_EMPTY, examples=[""])
    """Star catalogue for solving: the site's SQLite file, or a CSV table of ra, dec, mag, pmra,
    pmdec; its whole path. Empty: the stars of the index files; both empty: no solving.
    """
    catalogue_epoch: float | None = key(None, minimum=1900, maximum=2100, examples=[2016.0])
    """Julian year of the catalogue's places, such as 2016.0. Without it: the epoch that the
    catalogue has for each star; else 2016.0 (Gaia DR3) for a CSV table, and for an SQLite file with
    a column dr2_source_id or dr3 in its name; 2015.5 (Gaia DR2) for all others.
    """
    index: str = key(pattern=ABSOLUTE_OR_EMPTY, examples=[""])
    """Folder of astrometry.net index files, for what the catalogue alone cannot solve; absolute;
    empty for none.
    """
    solve: str = choice("verify", "always", "never")
    """verify: a WCS in a raw header is a hint and is replaced by the solution; always: it is not
    even that; never: it is believed if it lies where the telescope pointed.
    """
    unsolved: str = choice("deliver", "hold")
    """Unsolved science frames: deliver with pixel coordinates, or hold back."""
    dark: str = key("", pattern=ABSOLUTE_OR_EMPTY, examples=["/data/calibration/dark_60s.fits"])
    """Raw dark frame for nights without their own, for cameras with a fixed pattern; its whole
    path; empty for none.
    """
    camera: Camera
    """The camera on the telescope."""
    earlier_cameras: tuple[EarlierCamera, ...] = key((), examples=[[]])
    """Cameras that it had in earlier nights, so that these can be processed again; the first entry
    that names a night counts.
    """
    programmes: tuple[ProgrammeEntry, ...] = key(
        (), examples=[[{"nights": "20260305-20260312", "programme": "110.23WX.001"}]]
    )
    """Nights, or targets of a night, that belong to another programme; --config programme=
    overrides them all.
    """
    transfer_log_remote: str = key(
        "",
        pattern=r"^(ssh://[^@/:]+@[^@/]+/.*)?$",
        examples=["ssh://archive@survey.example/transfer_logs"],
    )
    """Folder of a server that gets a copy of the transfer logs after each run,
    ssh://user@host[:port]/folder, never with a password (SPECULOOS_SSH_KEY names a key); empty for
    none.
    """
    confirm: bool = False
    """Ask ESO's archive, some hours after delivery, whether it shows each product. User and
    password: the environment variables SPECULOOS_ESO_USER and SPECULOOS_ESO_PASSWORD; without them
    ESO shows only public calibrations.
    """
    confirm_after: float = key(24, minimum=3)
    """Hours from delivery until a product that ESO does not show is missing."""
    confirm_until: float = key(7, exclusiveMinimum=0)
    """Days from delivery during which each run asks for a product that is not confirmed."""
    confirm_service: str = key("https://archive.eso.org/tap_obs", pattern=SERVICE)
    """TAP service of ESO, https://…."""
    confirm_token_service: str = key("https://www.eso.org/sso/oidc/token", pattern=SERVICE)
    """Where ESO exchanges user and password for a token, https://…."""
    confirm_timeout: float = key(120, exclusiveMinimum=0)
    """Seconds that ESO has for token and answer together."""
    origin: str = key("", maxLength=30, examples=["SSO-PARANAL"])
    """ORIGIN of every product; empty for that of the site, in config/sites.csv."""
    pi_coi: str = key("D. Queloz", pattern="^[ -~]{1,30}$")
    """PI-COI of every product: initials, surname; ASCII."""
    longitude: float | None = key(None, minimum=-180, maximum=180, examples=[-70.390278])
    """Of the site, degrees, east positive; for LST and the bounds of nights. Without it that of the
    site in config/sites.csv.
    """
    lookback: int = key(14, minimum=0)
    """Nights before the last one that are completed if something is missing."""
    first_night: str = key(
        "",
        type=["string", "integer"],
        pattern=r"^(\d{8})?$",
        minimum=19000101,
        maximum=99991231,
        examples=["20260306"],
    )
    """Earlier nights, YYYYMMDD, are left alone unless `nights` names them: another pipeline has
    delivered them.
    """
    nights_together: int = key(20, minimum=1)
    """Nights that one run plans together; if more are not complete, they are run one by one."""
    max_held: float = key(0.5, minimum=0, maximum=1)
    """Share of frames that may be held back before a night is refused."""
    streams: int = key(4, minimum=1)
    """Frames copied from the source at a time."""
    ingest: str = choice("copy", "link")
    """copy: frames are copied to `workdir`; link: frames of a folder are linked there and read in
    place, so each pixel is written once, into its product.
    """
    batch: float = key(150, minimum=0)
    """Megabytes of pixels up to which sequences share a job that makes and delivers their products:
    a job of its own takes longer to start than a small product to write. 0: each has its own.
    """
    settle: float = key(5, minimum=0)
    """Seconds before a frame that is still being written is tried again."""
    keep_raw: bool = False
    """Keep the raw copies of a night after its delivery."""
    mode: str = key("0644", type=["string", "integer"], pattern="^0?[0-7]{3}$")
    """Rights of delivered products: octal digits, in quotes; ESO's collector must read them."""
    redeliver: bool = False
    """Deliver the nights again, once; the next run continues a request that was not completed."""
    corrections: str = key("", examples=["/data/corrections"])
    """Folder of files {telescope}_{night}.yaml; empty for config/corrections."""
    passwords: str = key("", pattern="^(/.*)?$", examples=["/etc/speculoos/callisto.env"])
    """Whole path of the file of passwords; empty for config/site/{telescope}.env. What is in the
    environment already wins.
    """
    free_gb: FreeSpace = FreeSpace()
    """Gigabytes that must be free before a run begins."""
    time_limit: float = key(20, exclusiveMinimum=0)
    """Hours after which a run is ended."""
    max_age: float = key(24, exclusiveMinimum=0)
    """Hours after which a run that is still at work is reported."""
    mail: Mail = key(
        Mail(),
        **{"if": {"properties": {"to": {"minItems": 1}}, "required": ["to"]}},
        then={"required": ["from", "host"]},
    )
    """Who gets a report of how a run ended, and through which server; without it nobody. User and
    password: the environment variables SPECULOOS_SMTP_USER and SPECULOOS_SMTP_PASSWORD, a CA of the
    site's own: the path in SPECULOOS_SMTP_CA.
    """

    @property
    def place(self) -> Site:
        """Where the telescope is: its site; the keys `longitude` and `origin` win."""
        site = telescopes()[self.telescope].site
        longitude = site.longitude if self.longitude is None else self.longitude
        return site._replace(longitude=longitude, origin=self.origin or site.origin)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Configuration":
        """Return the record of settings that `check.checked` allows, as jobs have them."""
        return record_of(cls, settings)
