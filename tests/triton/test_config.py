"""Config: what is written for a server is complete, the same each time, and about these bytes."""

import json
import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deepsmile.bundle import Bundle, load_bundle, write_bundle, write_sealed
from deepsmile.digest import digest_of_file
from deepsmile.errors import BundleCorrupt, BundleMismatch
from deepsmile.settings import shipped_repository
from deepsmile.triton.config import CONFIG_FILE, MAX_BATCH, Target, write_configs
from tests.making import make_bundle


@pytest.fixture
def repository(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.root, tmp_path / "repository"))


def read(repository: Path, model: str) -> model_config_pb2.ModelConfig:
    """A configuration as Triton parses it: an unknown field is an error."""
    text = (repository / model / CONFIG_FILE).read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(listed: object) -> list[tuple[str, str, list[int]]]:
    name_of = model_config_pb2.DataType.Name
    return [(t.name, name_of(t.data_type), list(t.dims)) for t in listed]  # type: ignore[attr-defined]


def parameters(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def test_an_encoder_takes_bytes_and_is_batched(repository: Path) -> None:
    write_configs(repository, Target.GPU)
    config = read(repository, "tiny_encoder")
    assert (config.name, config.backend) == ("tiny_encoder", "onnxruntime")
    assert config.max_batch_size == MAX_BATCH
    assert tensors(config.input) == [("tiles", "TYPE_UINT8", [224, 224, 3])]
    assert tensors(config.output) == [("features", "TYPE_FP32", [6])]
    assert parameters(config)["deepsmile.sha256.1"] == digest_of_file(
        repository / "tiny_encoder/1/model.onnx"
    )


def test_a_head_takes_whole_bags_on_the_cpu(repository: Path) -> None:
    for target in Target:
        write_configs(repository, target)
        config = read(repository, "tiny_head")
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
        assert tensors(config.input) == [("features", "TYPE_FP32", [-1, 6])]
        assert tensors(config.output) == [
            ("logits", "TYPE_FP32", [2, 2]),
            ("attention", "TYPE_FP32", [2, -1]),
        ]
        assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU


@pytest.mark.parametrize(
    ("target", "kind", "accelerators"),
    [("cpu", "KIND_CPU", []), ("gpu", "KIND_AUTO", []), ("tensorrt", "KIND_GPU", ["tensorrt"])],
)
def test_targets_differ_in_where_the_encoder_runs(
    repository: Path, target: str, kind: str, accelerators: list[str]
) -> None:
    write_configs(repository, Target(target))
    config = read(repository, "tiny_encoder")
    groups = [(group.count, group.kind) for group in config.instance_group]
    assert groups == [(2, model_config_pb2.ModelInstanceGroup.Kind.Value(kind))]
    used = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [accelerator.name for accelerator in used] == accelerators
    assert ("cudnn_conv_algo_search" in parameters(config)) is (target != "cpu")


def test_tensorrt_keeps_no_engines(repository: Path) -> None:
    """ONNX Runtime's name for one holds no weights: another encoder's would be served."""
    write_configs(repository, Target.TENSORRT)
    used = read(repository, "tiny_encoder").optimization.execution_accelerators
    (tensorrt,) = used.gpu_execution_accelerator
    profile = {f"trt_profile_{bound}_shapes" for bound in ("min", "opt", "max")}
    assert set(tensorrt.parameters) == {"precision_mode", *profile}


@pytest.mark.parametrize("target", list(Target))
def test_there_is_no_queue_policy_and_no_priority(repository: Path, target: Target) -> None:
    """Either makes requests wait for half a second each."""
    write_configs(repository, target)
    batching = read(repository, "tiny_encoder").dynamic_batching
    assert batching.max_queue_delay_microseconds == 1000
    assert not batching.HasField("default_queue_policy")
    assert (batching.priority_levels, len(batching.priority_queue_policy)) == (0, 0)


def test_every_version_stays_served_and_is_named_by_its_digest(repository: Path) -> None:
    folder = repository / "tiny_encoder"
    for version, text in (("2", b"second"), ("10", b"tenth")):
        (folder / version).mkdir()
        (folder / version / "model.onnx").write_bytes(text)
    (folder / "draft").mkdir()
    (folder / "draft" / "model.onnx").write_bytes(b"draft")
    write_configs(repository, Target.CPU)
    config = read(repository, "tiny_encoder")
    assert config.version_policy.HasField("all")
    told = {k: v for k, v in parameters(config).items() if k.startswith("deepsmile.")}
    assert told == {
        f"deepsmile.sha256.{version}": digest_of_file(folder / version / "model.onnx")
        for version in ("1", "2", "10")
    }


def test_nothing_but_configurations_is_written_and_the_same_again(repository: Path) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}

    before = content()
    written = write_configs(repository, Target.TENSORRT)
    after = content()
    assert set(after) - set(before) == set(written)
    assert {path.parent.name for path in written} == {"tiny_encoder", "tiny_head"}
    assert {path: after[path] for path in before} == before
    write_configs(repository, Target.TENSORRT)
    assert content() == after


def first_line(repository: Path, model: str) -> str:
    return (repository / model / CONFIG_FILE).read_text().splitlines()[0]


def publish_under_another_name(repository: Path) -> None:
    """Version 2 of "tiny", whose encoder is called "next_encoder"."""
    content = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    shutil.copytree(repository / "tiny_encoder/1", repository / "next_encoder/1")
    digest = content["files"].pop("tiny_encoder/1/model.onnx")
    content["files"]["next_encoder/1/model.onnx"] = digest
    write_bundle(repository, {**content, "version": "2"})


def write_encoder_file(repository: Path) -> Path:
    """ "tiny.encoder.json" of the tiny encoder; only what a server needs to know of it."""
    features = load_bundle(repository, "tiny").contract.features
    content = {
        "model": "tiny_encoder/1/model.onnx",
        "features": features.model_dump(mode="json"),
    }
    write_sealed(repository / "tiny.encoder.json", content)
    return repository / "tiny.encoder.json"


def test_superseded_bundles_are_configured_while_their_models_are_there(repository: Path) -> None:
    """Jobs accepted for them are still served."""
    write_configs(repository, Target.TENSORRT)
    publish_under_another_name(repository)
    written = write_configs(repository, Target.CPU)
    models = ["next_encoder", "tiny_encoder", "tiny_head"]
    assert sorted(path.parent.name for path in written) == models
    assert all("--target cpu`" in first_line(repository, model) for model in models)
    shutil.rmtree(repository / "tiny_encoder")
    written = write_configs(repository, Target.GPU)
    assert sorted(path.parent.name for path in written) == ["next_encoder", "tiny_head"]
    assert not (repository / "tiny_encoder").exists()


def test_an_encoder_without_heads_is_configured(repository: Path) -> None:
    """As it would be for a bundle."""
    (for_bundle, _) = write_configs(repository, Target.CPU)
    expected = for_bundle.read_text()
    write_encoder_file(repository)
    (repository / "tiny.bundle.json").unlink()
    for_bundle.unlink()
    assert write_configs(repository, Target.CPU) == [for_bundle]
    assert for_bundle.read_text() == expected


def test_an_encoder_file_that_changed_is_refused(repository: Path) -> None:
    path = write_encoder_file(repository)
    path.write_text(path.read_text().replace("tiny_encoder/1", "tiny_encoder/2"))
    with pytest.raises(BundleCorrupt, match=r"tiny\.encoder\.json"):
        write_configs(repository)


@pytest.mark.parametrize("target", list(Target))
def test_a_target_once_chosen_stays(repository: Path, target: Target) -> None:
    write_configs(repository, target)
    publish_under_another_name(repository)
    stranger = repository / "stranger" / CONFIG_FILE
    stranger.parent.mkdir()
    stranger.write_text('name: "stranger"\nbackend: "python"\n')
    assert len(write_configs(repository)) == 3
    assert f"--target {target}`" in first_line(repository, "next_encoder")
    assert stranger.read_text().startswith('name: "stranger"')


def test_it_is_a_gpu_at_first(repository: Path) -> None:
    write_configs(repository)
    assert "--target gpu`" in first_line(repository, "tiny_encoder")
    assert write_configs(repository / "tiny_head") == []


def test_a_configuration_that_is_right_is_left_alone(repository: Path) -> None:
    """Servers load a model again whose files are written again."""
    written = write_configs(repository, Target.CPU)
    before = {path: path.stat().st_ino for path in written}
    publish_under_another_name(repository)
    assert set(write_configs(repository, Target.CPU)) > set(written)
    assert {path: path.stat().st_ino for path in written} == before


def test_two_bundles_share_an_encoder_of_one_shape_only(repository: Path) -> None:
    content = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    write_bundle(repository, {**content, "name": "second"})
    assert len(write_configs(repository, Target.CPU)) == 2
    content["contract"]["features"]["encoder"]["feature_dim"] = 7
    write_bundle(repository, {**content, "name": "third"})
    with pytest.raises(BundleMismatch, match="two bundles want tiny_encoder in different shapes"):
        write_configs(repository, Target.CPU)


def test_a_model_must_lie_where_triton_looks(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    content = json.loads((tmp_path / "tiny.bundle.json").read_text())
    del content["digest"]
    digest = content["files"].pop("tiny_head/1/model.onnx")
    (tmp_path / "tiny_head/1/model.onnx").rename(tmp_path / "head.onnx")
    content["files"]["head.onnx"] = digest
    write_bundle(tmp_path, content)
    with pytest.raises(BundleMismatch, match=r"head\.onnx does not lie where Triton looks"):
        write_configs(tmp_path, Target.CPU)


def test_the_shipped_repository_is_configured_for_any_machine() -> None:
    """As `deepsmile export` leaves it; each digest is that of the file beside it."""
    root = shipped_repository()
    bundle = load_bundle(root, "demo")
    models = {path.split("/")[0] for path in bundle.file.files if path.endswith(".onnx")}
    for model in models:
        config = read(root, model)
        assert config.name == model
        said = {k: v for k, v in parameters(config).items() if k.startswith("deepsmile.")}
        assert said == {
            f"deepsmile.sha256.{path.parent.name}": digest_of_file(path)
            for path in (root / model).glob("*/model.onnx")
        }
        assert "--target gpu`" in (root / model / CONFIG_FILE).read_text()
