"""Configuration of a pre-training run: what can change its result, and how it is run."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Frozen
from deepsmile_training.encoders.initialisation import Initialisation
from deepsmile_training.pretraining.augmentation import AUGMENTATIONS, PAPER, Augmentation
from deepsmile_training.pretraining.ntxent import TEMPERATURE
from deepsmile_training.pretraining.projection import Head
from deepsmile_training.yaml_file import parse, read_yaml

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Adam(Frozen):
    """The optimiser; the defaults are the paper's (section 4.1.1), without any schedule."""

    learning_rate: Positive = 3e-4
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Momentum(Frozen):
    """BYOL's target and heads: Grill et al. 2020, section 3.3; the paper states none."""

    momentum: Decay = 0.996
    hidden: Count = 4096
    embedding_dim: Count = 256


class Running(Frozen):
    """How a run is carried out: nothing here changes what is learned, but for rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 4
    checkpoint_minutes: Positive = 15.0
    log_steps: Count = 10
    probe_epochs: Count = 5
    keep_epochs: Annotated[int, Field(ge=0)] = 0
    """After each so many the encoder is kept; 0: only the last one is."""
    compile: bool = False
    channels_last: bool = True
    gradient_checkpointing: bool = False


class PretrainConfig(Frozen):
    """One run. `batch` counts tiles over all ranks and accumulated parts."""

    method: Literal["simclr", "byol"] = "simclr"
    backbone: str = "shufflenet_v2_x1_0"
    initialisation: Initialisation = Initialisation()
    batch: Annotated[int, Field(ge=2)]
    epochs: Count
    accumulation: Count = 1
    view_px: Annotated[int, Field(ge=32)] = 224
    augmentation: Augmentation = PAPER
    temperature: Positive = TEMPERATURE
    head: Head = "mlp"
    embedding_dim: Count = 128
    byol: Momentum = Momentum()
    adam: Adam = Adam()
    precision: Literal["fp32", "bf16"] = "bf16"
    """RESOLUTIONS row 24."""
    sync_batch_norm: bool = True
    """Of ranks that have GPUs; torch cannot without."""
    seed: Annotated[int, Field(ge=0)] = 0
    running: Running = Running()

    @model_validator(mode="after")
    def _accumulation_fits(self) -> Self:
        if self.accumulation > 1 and self.method == "simclr":
            raise ValueError(
                "accumulation: parts of a batch are no negatives of each other, so SimCLR would"
                " train with batches of a part's size; use gradient_checkpointing"
            )
        if self.batch % self.accumulation:
            raise ValueError("accumulation: want a divisor of batch")
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """All that can change the result, as JSON has it."""
        return self.model_dump(mode="json", exclude={"running"})

    @property
    def recipe_digest(self) -> str:
        """Of all that can change the result."""
        return digest_of(self.recipe)


def load_config(
    path: Path | None, preset: str | None, changes: dict[str, Any] | None = None
) -> PretrainConfig:
    """A preset's values, then those of the YAML file (which may name its preset), then `changes`.

    Raises:
        RequestInvalid: naming the key.
    """
    from deepsmile_training.pretraining.presets import preset_values

    written = _read(path) if path else {}
    named = preset or written.get("preset")
    written = {key: value for key, value in written.items() if key != "preset"}
    values = merged(preset_values(str(named)) if named else {}, written, changes or {})
    return parse_config(values, str(path or named or "configuration"))


def parse_config(values: dict[str, Any], where: str) -> PretrainConfig:
    """Raises RequestInvalid naming every key that is wrong."""
    return parse(PretrainConfig, values, where)


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise RequestInvalid(f"{path}: want keys and values", hint="See training/runs/*.yaml.")
    return values


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """The later one wins; mappings are merged key by key, a named augmentation by its values.

    Raises:
        RequestInvalid: there is no augmentation of that name.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = _both(values, _spelt_out(layer))
    return values


def _both(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        former = both.get(key)
        if isinstance(former, dict) and isinstance(value, dict):
            value = _both(former, value)
        both[key] = value
    return both


def _spelt_out(values: dict[str, Any]) -> dict[str, Any]:
    name = values.get("augmentation")
    if not isinstance(name, str):
        return values
    if name not in AUGMENTATIONS:
        raise RequestInvalid(
            f"augmentation: no augmentation {name!r}; there are {', '.join(AUGMENTATIONS)}",
            hint="Name one of them, or give its keys.",
        )
    return {**values, "augmentation": AUGMENTATIONS[name].model_dump(mode="json")}
