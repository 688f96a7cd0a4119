"""How the telescopes stand; exit status 1 if something is wrong with one."""

import argparse
import json
import sys
from datetime import UTC, datetime

from scripts.lib.configuration import (
    ConfigurationError,
    find_profile,
    installed_telescopes,
    read_configuration,
)
from scripts.lib.env_file import environment, read_environment
from scripts.lib.health import as_json, assess, summary
from scripts.lib.mail import alert, mailed_since


def status_of(telescope: str, now: datetime, mail: bool) -> tuple[dict, str]:
    """Return how a telescope stands, for programs and for people."""
    try:
        profile = find_profile(telescope)
        config = read_configuration(profile)
        # Each telescope's passwords are its own.
        with environment(read_environment(config)):
            health = assess(config, now)
            text = summary(health, now)
            if mail and health.problems and not told(config, health.heartbeat.start):
                alert(config, "trouble", text)
    except (ConfigurationError, OSError) as error:
        problem = str(error)
        content = {"telescope": telescope, "ok": False, "problems": [problem]}
        return content, f"{telescope}: trouble\n  TROUBLE        {problem}"
    return as_json(health), text


def told(config: dict, start: datetime | None) -> bool:
    """Tell whether a mail was written since the last run began."""
    return start is not None and mailed_since(config, start)


def main(words: list[str] | None = None) -> int:
    """Print how the telescopes stand."""
    parser = argparse.ArgumentParser(prog="python -m scripts.status", description=__doc__)
    parser.add_argument("telescopes", nargs="*", help="default: all that have a profile")
    parser.add_argument("--json", action="store_true", help="print one list, for a monitor")
    parser.add_argument(
        "--mail", action="store_true", help="mail what is wrong, unless the last run mailed"
    )
    given = parser.parse_args(words)
    telescopes = given.telescopes or installed_telescopes()
    if not telescopes:
        print("no telescope has a profile: run make install", file=sys.stderr)
        return 1
    now = datetime.now(UTC)
    found = [status_of(telescope, now, given.mail) for telescope in telescopes]
    if given.json:
        print(json.dumps([content for content, _ in found], indent=1))
    else:
        print("\n".join(text for _, text in found))
    return 0 if all(content["ok"] for content, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
