"""Pages and mails from the files in ``templates/``."""

from pathlib import Path


def render(template: Path, **facts: object) -> str:
    """Return a template with facts; values are escaped in HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=template.suffix == ".html",
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(facts).rstrip() + "\n"
