"""night: what became of a night.

Needs   {night}/frames.csv, the ledger
Leaves  {night}/night.html, {night}/night.json, {night}/summary.txt, the receipts
"""


rule night:
    """Report a night once all its good frames are delivered."""
    input:
        frames="{night}/frames.csv",
        stamps=undelivered,
    output:
        page=reported(update("{night}/night.html"), "night"),
        stamp=f"{{night}}/{STAMPS}/night",
    log:
        "{night}/logs/night.log",
    localrule: True
    conda:
        "../envs/night.yaml"
    params:
        work=shown("page"),
    script:
        "../scripts/night.py"
