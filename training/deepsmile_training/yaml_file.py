"""YAML files: configurations, with every wrong key named."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deepsmile.errors import RequestInvalid

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> object:
    """What a file holds. Raises RequestInvalid, naming it, where it cannot be read."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestInvalid(f"{path}: {error}", hint="Name a readable YAML file.") from error


def parse(model: type[Model], values: object, where: str) -> Model:
    """`values` as a model. Raises RequestInvalid naming every key that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(str(step) for step in each['loc']) or 'values'}: {each['msg']}"
            for each in error.errors()
        ]
        raise RequestInvalid(
            f"{where}: {'; '.join(wrong)}", hint="Correct the keys that the detail names."
        ) from error
