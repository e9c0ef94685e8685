"""Entry of `python -m deepsmile.api`: serve until SIGTERM."""

from deepsmile.api.serve import serve
from deepsmile.settings import settings_or_exit

if __name__ == "__main__":
    serve(settings_or_exit())
