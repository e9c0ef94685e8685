"""Cold starts: `import deepsmile`, the first tile of a slide, `deepsmile up`.

    python -m benchmarks.startup [SLIDE] [--rounds 5]

Each in a fresh process, from its launch. Goals: import under 0.3 s without torch, first tile
within 1 s, ready under 5 s. Beside them the same interpreter that imports nothing.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.slides import add_slide, slide_of
from tests.making import make_bundle
from tests.service import free_port

FIRST_TILE = """
import sys
from pathlib import Path
from deepsmile.bundle import load_bundle
from deepsmile.settings import Settings
from deepsmile.tiles import TileBatch

settings = Settings()
reader = settings.reader
reader.start()
contract = load_bundle(settings.model_repository, settings.default_bundle).contract.features
events = reader.read(Path(sys.argv[1]), contract)
print(len(next(event for event in events if isinstance(event, TileBatch)).pixels))
"""
"""What `deepsmile score` does before it encodes."""


def seconds(arguments: list[str], environment: dict[str, str], word: str) -> float:
    """From the launch of a process to the line that holds `word`; the process is ended then."""
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    found = any(word in line for line in process.stdout)
    took = time.perf_counter() - started
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert found, f"{arguments} never said {word!r}"
    return took


def first_tile(slide: Path, environment: dict[str, str]) -> float:
    """Seconds from the launch of an interpreter to the first tiles of a slide."""
    command = [sys.executable, "-uc", FIRST_TILE, str(slide.absolute())]
    return seconds(command, environment, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_slide(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    path = slide_of(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bundle(folder)
        ours = {"MODEL_REPOSITORY": name, "DEFAULT_BUNDLE": "tiny", "DATA_DIR": f"{name}/data"}
        environment = os.environ | {f"DEEPSMILE_{key}": value for key, value in ours.items()}

        def python(code: str) -> Callable[[], float]:
            return lambda: seconds([sys.executable, "-uc", code], environment, "")

        def up() -> float:
            deepsmile = str(Path(sys.executable).parent / "deepsmile")
            return seconds([deepsmile, "up", "--port", str(free_port())], environment, "is ready")

        claims = {
            "an interpreter alone": python("print(1)"),
            "import deepsmile": python("import deepsmile, sys; print('torch' in sys.modules)"),
            "first tile": lambda: first_tile(path, environment),
            "deepsmile up, ready": up,
        }
        for claim, measure in claims.items():
            times = [measure() for _ in range(options.rounds)]
            low, high = min(times), max(times)
            print(f"{claim}: {statistics.median(times):.2f} s ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
