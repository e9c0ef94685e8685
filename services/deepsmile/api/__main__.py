"""Entry of `python -m deepsmile.api`: serve until SIGTERM."""

from deepsmile.api.serve import serve
from deepsmile.settings import Settings

if __name__ == "__main__":
    serve(Settings())
