"""header: the finished ESO headers of a night, apart from their pixels.

Needs   {night}/frames.csv, {night}/raw/, {night}/solved/ if frames are to be solved
Leaves  {night}/headered/{sequence}.fits    header-only HDUs; for cubes also their METADATA
        {night}/headered/held.csv           frames held back: unsolved, or refused by the gate
"""


rule header:
    """Finish the ESO headers of a night: identity, times, world coordinates, order."""
    input:
        **TABLES,
        checks=CHECKS,
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        corrections=night_corrections,
        solved=solved_tables,
    output:
        headered=directory("{night}/headered"),
    log:
        "{night}/logs/header.log",
    conda:
        "../envs/header.yaml"
    params:
        observatory=observatory,
        products=config["products"],
        longitude=config["longitude"],
        unsolved=config["unsolved"],
    script:
        "../scripts/header.py"
