"""Fences: the fenced blocks of a page, and the shell commands in them."""

import re

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for found, text in FENCE.findall(page) if found == language]


def commands_of(page: str) -> list[str]:
    """One shell command each, without comments; a line that ends in a backslash goes on."""
    joined = "\n".join(blocks_of(page, "sh")).replace("\\\n", " ")
    lines = (re.sub(r"\s+#.*$", "", line).strip() for line in joined.splitlines())
    return list(dict.fromkeys(line for line in lines if line))
