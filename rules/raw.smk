"""raw: a night's frames as they left the telescope.

Needs   <source>/<night>/*.fits, *.fts
Leaves  {night}/raw/            the frames, until the night is delivered
        {night}/ingested.csv    a row for each: size, time, DATASUM
        {night}/frames.csv      a row for each: kind, sequence, product, or why it is held back
"""


rule ingest:
    """Copy a night from the source, verified; continue where an earlier copy was cut off."""
    output:
        table=update("{night}/ingested.csv"),
        marker="{night}/raw/complete",
    log:
        "{night}/logs/ingest.log",
    conda:
        "../envs/ingest.yaml"
    threads: 2
    params:
        listing=source_listing,
    script:
        "../scripts/ingest.py"


checkpoint inventory:
    """Read every header of a night once; give each frame its sequence, or the reason against it."""
    input:
        **TABLES,
        ingested="{night}/ingested.csv",
        marker="{night}/raw/complete",
        corrections=night_corrections,
    output:
        frames="{night}/frames.csv",
    log:
        "{night}/logs/inventory.log",
    conda:
        "../envs/inventory.yaml"
    params:
        observatory=observatory,
        products=config["products"],
        unsolved=config["unsolved"],
    script:
        "../scripts/inventory.py"
