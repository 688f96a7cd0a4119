"""Settings from the command line, as the configuration files would have them."""

WORDS = {"true": True, "false": False}


def spelt_out(config: dict) -> dict:
    """Return the settings that were given as a word, ``redeliver=true``, as what they mean.

    Snakemake itself knows only Python's ``True``.
    """
    return {
        key: WORDS[value.lower()]
        for key, value in config.items()
        if isinstance(value, str) and value.lower() in WORDS
    }
