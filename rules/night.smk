"""night: what became of a night.

Needs   {night}/frames.csv, {night}/archived/
Leaves  {night}/night.html, {night}/summary.txt, its line in transfer_log.txt
"""


rule night:
    """Report a night and log the transfer once all its good frames are delivered."""
    input:
        frames="{night}/frames.csv",
        receipts=undelivered,
        template=TEMPLATE,
    output:
        page="{night}/night.html",
    log:
        "{night}/logs/night.log",
    conda:
        "../envs/night.yaml"
    params:
        programme=programme,
        damage=damage,
    script:
        "../scripts/night.py"
