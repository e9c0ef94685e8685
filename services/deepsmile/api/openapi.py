"""OpenAPI: `python -m deepsmile.api.openapi > openapi.yaml` writes the schema of the API."""

import sys
from typing import TextIO

from deepsmile.api.app import create_app
from deepsmile.settings import Settings


def write_schema(sink: TextIO) -> None:
    """The schema as YAML; the same code gives the same text. Needs the extra `dev`."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as they are, and every value where it is used."""

        def ignore_aliases(self, _data: object) -> bool:
            return True

    def text(dumper: Dumper, value: str) -> yaml.Node:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    schema = create_app(Settings()).openapi()
    yaml.dump(schema, sink, Dumper=Dumper, sort_keys=False, width=100, allow_unicode=True)


if __name__ == "__main__":
    write_schema(sys.stdout)
