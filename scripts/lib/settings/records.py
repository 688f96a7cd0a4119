"""The keys of a telescope's configuration: type, default, unit, meaning and rules of each.

This is their one place: config/schema.yaml and config/telescope.yaml.example are written from it by
`make docs`. Every job imports this module: it needs the standard library only.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

TELESCOPES = ["Io", "Europa", "Ganymede", "Callisto"]
PROGRAMME = r"^(\d{2,3}\.[A-Z]-\d{4}\([A-Z]{1,2}\)|\d{3}\.[A-Z0-9]{4}\.\d{3})$"
MAIL_ADDRESS = r"^[^\r\n]*[!-~]+@[!-~]+$"
MAIL_ADDRESSES = {"items": {"type": "string", "pattern": MAIL_ADDRESS}}
SERVICE = r"^(https://|http://(localhost|127\.0\.0\.1)[:/])"
ABSOLUTE_OR_EMPTY = "^(/|$)"

Record = TypeVar("Record")


def key(description: str, default: Any = MISSING, **rules: Any) -> Any:
    """Declare a key; without a default it must be in the file.

    Parameters
    ----------
    description : str
        What it means, in which unit, and which form it must have.
    rules
        Further rules, by their names in JSON schema; ``name`` is the key's name in the file, if it
        is not that of the attribute.
    """
    return field(default=default, metadata={"description": description} | rules)


def choice(description: str, default: str, *others: str) -> Any:
    """Declare a key with one of some words."""
    return key(description, default, enum=[default, *others])


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

    name: str = key("INSTRUME as the observatory software writes it.", examples=["SPIRIT"])
    naxis1: int = key("Width of a full frame, pixels.", minimum=1, examples=[1024])
    naxis2: int = key("Height of a full frame, pixels.", minimum=1, examples=[1280])
    pixel_scale: float = key(
        "Arcseconds a pixel, without binning; right to 2 %.", exclusiveMinimum=0, examples=[0.309]
    )
    rotation: float = key(
        "Position angle of the frame's +y on either side of the pier, degrees, north over east; "
        "right to 2 degrees it saves time.",
        0,
    )
    parity: int = key(
        "1 if frames show the sky as it is seen, -1 if mirrored; the right one saves time.",
        1,
        enum=[1, -1],
    )
    band: str = choice("Catalogue magnitude that ranks stars: g (optical), j (infrared).", "g", "j")
    fixed_pattern: bool = key(
        "Whether stars stand out only once a dark is subtracted (infrared cameras). Products keep "
        "the raw pixels.",
        False,
    )


@dataclass(frozen=True, slots=True)
class ProgrammeEntry:
    """Nights, or targets of a night, that belong to another programme."""

    nights: str = key(
        "YYYYMMDD, several with blanks between, or YYYYMMDD-YYYYMMDD.", type=["string", "integer"]
    )
    programme: str = key(
        "ESO programme id, such as 60.A-9099(A) or 110.23WX.001.", pattern=PROGRAMME
    )
    targets: tuple[str, ...] = key(
        "Patterns of OBJECT (* ?); without them the whole night, calibrations too.", ()
    )


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Space that must be free before a run begins."""

    workdir: float = key("Gigabytes on the disk of workdir.", 20, minimum=0)
    archive: float = key("Gigabytes on the disk of archive.", 5, minimum=0)


@dataclass(frozen=True, slots=True)
class Mail:
    """Who gets a report of how a run ended, and through which server."""

    when: str = choice(
        "problems: when jobs failed, or frames were held back that no mail has reported; always: "
        "after every run that had something to do; never.",
        "problems",
        "always",
        "never",
    )
    sender: str = key(
        "Sender, name@host or Some Name <name@host>.",
        "",
        name="from",
        pattern=MAIL_ADDRESS,
        examples=["SPECULOOS archive <archive@obs.example>"],
    )
    to: tuple[str, ...] = key(
        "Recipients; empty for no mail.", (), **MAIL_ADDRESSES, examples=[["duty@obs.example"]]
    )
    cc: tuple[str, ...] = key(
        "Recipients of a copy.", (), **MAIL_ADDRESSES, examples=[["pi@obs.example"]]
    )
    host: str = key(
        "Mail server, by the name in its certificate.",
        "",
        minLength=1,
        examples=["mail.obs.example"],
    )
    port: int | None = key(
        "Of the mail server; without it 587 for starttls, 465 for tls, 25 for none.",
        None,
        minimum=1,
        maximum=65535,
        examples=[587],
    )
    security: str = choice(
        "starttls, tls (from the first byte), or none: only for a server on this machine.",
        "starttls",
        "tls",
        "none",
    )
    timeout: float = key(
        "Seconds to wait for each answer of the server; all mails of a run get six times that.",
        20,
        exclusiveMinimum=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Configuration of one telescope.

    One file per telescope; every key can be overridden with --config key=value.
    """

    telescope: str = key("A row of config/telescopes.csv.", enum=TELESCOPES, examples=["Callisto"])
    source: str = key(
        "Where the nights are read from, one folder YYYYMMDD each: an absolute folder, "
        "smb://user@host[:port]/share/path or sftp://user@host[:port]/path; never with a password, "
        "which is in the environment (SPECULOOS_SOURCE_PASSWORD).",
        pattern=r"^(/|[a-z]+://(?![^/]*:[^/]*@))",
        examples=["/data/source/Callisto"],
    )
    source_mounted: bool = key(
        "Whether the source is on a mounted share, or a mount point itself: if nothing is mounted "
        "there the run fails, instead of finding no nights, and reads have a time limit.",
        False,
    )
    workdir: Path = key(
        "Folder for everything the workflow makes; absolute.",
        examples=["/data/archive-work/Callisto"],
    )
    archive: Path = key(
        "Directory from which ESO collects; absolute, must exist.", examples=["/data/eso"]
    )
    site: str = key(
        "Folder of the pages of all nights, shared by all telescopes; absolute; empty for none.",
        "",
        pattern=ABSOLUTE_OR_EMPTY,
        examples=["/data/speculoos-pages"],
    )
    nights: str = key(
        "Nights to bring up to date: YYYYMMDD, several with blanks between, or YYYYMMDD-YYYYMMDD; "
        "empty for the last night and missed ones.",
        type=["string", "integer", "null"],
        examples=[""],
    )
    programme: str = key(
        "ESO programme id of the night's frames, such as 60.A-9099(A) or 110.23WX.001; a night "
        "that was delivered keeps its own.",
        pattern=PROGRAMME,
        examples=["60.A-9009(D)"],
    )
    products: str = key(
        "What ESO gets: one cube per sequence, or every frame.", enum=["cubes", "frames"]
    )
    catalogue: str = key(
        "Star catalogue for solving: the site's SQLite file, or a CSV table of ra, dec, mag, pmra, "
        "pmdec; its whole path. Empty: the stars of the index files; both empty: no solving.",
        pattern=ABSOLUTE_OR_EMPTY,
        examples=[""],
    )
    catalogue_epoch: float | None = key(
        "Julian year of the catalogue's places, such as 2016.0. Without it: the epoch that the "
        "catalogue has for each star; else 2016.0 (Gaia DR3) for a CSV table, and for an SQLite "
        "file with a column dr2_source_id or dr3 in its name; 2015.5 (Gaia DR2) for all others.",
        None,
        minimum=1900,
        maximum=2100,
        examples=[2016.0],
    )
    index: str = key(
        "Folder of astrometry.net index files, for what the catalogue alone cannot solve; "
        "absolute; empty for none.",
        pattern=ABSOLUTE_OR_EMPTY,
        examples=[""],
    )
    solve: str = choice(
        "verify: a WCS in a raw header is a hint and is replaced by the solution; always: it is "
        "not even that; never: it is believed if it lies where the telescope pointed.",
        "verify",
        "always",
        "never",
    )
    unsolved: str = choice(
        "Unsolved science frames: deliver with pixel coordinates, or hold back.", "deliver", "hold"
    )
    dark: str = key(
        "Raw dark frame for nights without their own, for cameras with a fixed pattern; its whole "
        "path; empty for none.",
        "",
        pattern=ABSOLUTE_OR_EMPTY,
        examples=["/data/calibration/dark_60s.fits"],
    )
    camera: Camera = key("The camera on the telescope.")
    programmes: tuple[ProgrammeEntry, ...] = key(
        "Nights, or targets of a night, that belong to another programme; --config programme= "
        "overrides them all.",
        (),
        examples=[[{"nights": "20260305-20260312", "programme": "110.23WX.001"}]],
    )
    transfer_log_remote: str = key(
        "Folder of a server that gets a copy of the transfer logs after each run, "
        "ssh://user@host[:port]/folder, never with a password (SPECULOOS_SSH_KEY names a key); "
        "empty for none.",
        "",
        pattern=r"^(ssh://[^@/:]+@[^@/]+/.*)?$",
        examples=["ssh://archive@survey.example/transfer_logs"],
    )
    confirm: bool = key(
        "Ask ESO's archive, some hours after delivery, whether it shows each product. User and "
        "password: the environment variables SPECULOOS_ESO_USER and SPECULOOS_ESO_PASSWORD; "
        "without them ESO shows only public calibrations.",
        False,
    )
    confirm_after: float = key(
        "Hours from delivery until a product that ESO does not show is missing.", 24, minimum=3
    )
    confirm_until: float = key(
        "Days from delivery during which each run asks for a product that is not confirmed.",
        7,
        exclusiveMinimum=0,
    )
    confirm_service: str = key(
        "TAP service of ESO, https://….", "https://archive.eso.org/tap_obs", pattern=SERVICE
    )
    confirm_token_service: str = key(
        "Where ESO exchanges user and password for a token, https://….",
        "https://www.eso.org/sso/oidc/token",
        pattern=SERVICE,
    )
    confirm_timeout: float = key(
        "Seconds that ESO has for token and answer together.", 120, exclusiveMinimum=0
    )
    origin: str = key("ORIGIN of every product.", "SSO-PARANAL", maxLength=30)
    pi_coi: str = key(
        "PI-COI of every product: initials, surname; ASCII.", "D. Queloz", pattern="^[ -~]{1,30}$"
    )
    longitude: float = key(
        "Of the site, degrees, east positive; for LST.", -70.390278, minimum=-180, maximum=180
    )
    lookback: int = key(
        "Nights before the last one that are completed if something is missing.", 14, minimum=0
    )
    max_held: float = key(
        "Share of frames that may be held back before a night is refused.",
        0.5,
        minimum=0,
        maximum=1,
    )
    streams: int = key("Frames copied from the source at a time.", 4, minimum=1)
    settle: float = key(
        "Seconds before a frame that is still being written is tried again.", 5, minimum=0
    )
    keep_raw: bool = key("Keep the raw copies of a night after its delivery.", False)
    mode: str = key(
        "Rights of delivered products: octal digits, in quotes; ESO's collector must read them.",
        "0644",
        type=["string", "integer"],
        pattern="^0?[0-7]{3}$",
    )
    redeliver: bool = key(
        "Deliver the nights again, once; the next run continues a request that was not completed.",
        False,
    )
    corrections: str = key(
        "Folder of files {telescope}_{night}.yaml; empty for config/corrections.",
        "",
        examples=["/data/corrections"],
    )
    passwords: str = key(
        "Whole path of the file of passwords; empty for config/{telescope}.env. What is in the "
        "environment already wins.",
        "",
        pattern="^(/.*)?$",
        examples=["/etc/speculoos/callisto.env"],
    )
    free_gb: FreeSpace = key("Gigabytes that must be free before a run begins.", FreeSpace())
    time_limit: float = key("Hours after which a run is ended.", 20, exclusiveMinimum=0)
    max_age: float = key(
        "Hours after which a run that is still at work is reported.", 24, exclusiveMinimum=0
    )
    mail: Mail = key(
        "Who gets a report of how a run ended, and through which server; without it nobody. User "
        "and password: the environment variables SPECULOOS_SMTP_USER and SPECULOOS_SMTP_PASSWORD, "
        "a CA of the site's own: the path in SPECULOOS_SMTP_CA.",
        Mail(),
        **{"if": {"properties": {"to": {"minItems": 1}}, "required": ["to"]}},
        then={"required": ["from", "host"]},
    )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Configuration":
        """Return the record of settings that `check.checked` allows, as jobs have them."""
        return record_of(cls, settings)
