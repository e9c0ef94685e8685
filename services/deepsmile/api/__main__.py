"""Entry of `python -m deepsmile.api`: serve until SIGTERM."""

from deepsmile.api.serve import serve
from deepsmile.disk import keep_private
from deepsmile.settings import settings_or_exit

if __name__ == "__main__":
    settings = settings_or_exit()
    keep_private()
    serve(settings)
