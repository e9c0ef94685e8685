"""`python -m deepsmile.triton`: a server in the foreground that ends when it is no use any more."""

import argparse
import logging
import signal
import sys
import time
from pathlib import Path

from deepsmile.errors import BackendMissing, InferenceUnavailable
from deepsmile.logs import set_up_logs
from deepsmile.triton.install import find_triton
from deepsmile.triton.pulse import silent_models
from deepsmile.triton.server import START_S, Ports, TritonServer

logger = logging.getLogger("deepsmile.triton")

PULSE_S = 2.0
ANSWER_S = 60.0


def main() -> None:
    """Serve until SIGTERM; exit code 1 when the server is dead, or a model of ours is."""
    arguments = _arguments()
    set_up_logs()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    try:
        with _server(arguments) as server:
            server.wait_live(START_S)
            logger.info("Triton answers at %s", server.url)
            while True:
                _feel(server)
    except (BackendMissing, InferenceUnavailable) as error:
        logger.critical("stopping: %s", error.detail)
        raise SystemExit(1) from error


def _server(arguments: argparse.Namespace) -> TritonServer:
    return TritonServer(
        find_triton(arguments.server),
        arguments.repository,
        home=arguments.home,
        ports=Ports(arguments.http_port, arguments.grpc_port, arguments.metrics_port),
    )


def _feel(server: TritonServer) -> None:
    """Raises InferenceUnavailable, the server dead, if a model is silent twice in a row."""
    if not _listen(server):
        return
    silent = _listen(server)  # before, another version may just have been taking its place
    if silent:
        server.kill()  # asked to stop, it would wait for the dead until its time is up
        raise InferenceUnavailable("; ".join(f"{name}: {why}" for name, why in silent.items()))


def _listen(server: TritonServer) -> dict[str, str]:
    time.sleep(PULSE_S)
    return silent_models(server.url, ANSWER_S)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deepsmile.triton", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True, help="a folder for what it needs")
    parser.add_argument("--server", default="", help="a tritonserver, or nvidia-pytriton's folder")
    for kind in ("http", "grpc", "metrics"):
        parser.add_argument(f"--{kind}-port", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
