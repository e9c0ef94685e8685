"""Forms: multipart/form-data taken apart as it arrives; the file goes straight to its upload."""

from streaming_form_data.parser import (
    ParseFailedException,
    StreamingFormDataParser,
    parse_content_boundary,
)
from streaming_form_data.targets import BaseTarget

from deepsmile.errors import RequestInvalid
from deepsmile.uploads import Upload

FILE = "file"
MAX_FIELD_BYTES = 1024
MAX_OVERHEAD_BYTES = 64 * 1024
"""Boundaries, headers and fields together; also what the parser may hold back in memory."""


class SlideForm:
    """A form with one file and a few short fields."""

    def __init__(self, content_type: str, upload: Upload, names: tuple[str, ...]) -> None:
        """Raises RequestInvalid: the content type has no boundary."""
        self._upload = upload
        self._file = _FileTarget(upload)
        self._fields = {name: _FieldTarget(name) for name in names}
        headers = {"Content-Type": content_type}
        try:
            self._end = b"--" + parse_content_boundary(headers) + b"--"
            self._parser = StreamingFormDataParser(headers, strict=True)
        except ParseFailedException as error:
            raise RequestInvalid(f"the form cannot be read: {error}") from error
        self._parser.register(FILE, self._file)
        for name, target in self._fields.items():
            self._parser.register(name, target)
        self._bytes, self._tail = 0, b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            RequestInvalid: no such form, or an unknown field.
            BodyTooLarge: the file is.
        """
        self._bytes += len(chunk)
        self._tail = (self._tail + chunk)[-len(self._end) - 16 :]
        try:
            self._parser.data_received(chunk)
        except (ParseFailedException, ValueError, LookupError) as error:
            raise RequestInvalid(f"the form cannot be read: {error}") from error
        if self._bytes - self._upload.bytes > MAX_OVERHEAD_BYTES + len(chunk):
            raise RequestInvalid("the form has too much around its file")

    def finish(self) -> dict[str, str]:
        """The fields that were sent.

        Raises:
            RequestInvalid: the form stops early, or has no file.
        """
        if self._end not in self._tail:
            raise RequestInvalid("the form ends before its last boundary")
        if not self._file.starts:
            raise RequestInvalid(f"the form has no field {FILE!r}")
        return {name: target.text for name, target in self._fields.items() if target.starts}


class _FileTarget(BaseTarget):  # type: ignore[misc]  # the library has no types
    """Hands bytes on to the upload."""

    def __init__(self, upload: Upload) -> None:
        super().__init__()
        self._upload, self.starts = upload, 0

    def on_start(self) -> None:
        self.starts += 1
        if self.starts > 1:
            raise RequestInvalid("the form has more than one file")

    def on_data_received(self, chunk: bytes) -> None:
        self._upload.put(chunk)


class _FieldTarget(BaseTarget):  # type: ignore[misc]  # the library has no types
    """Collects a short text."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._value, self.starts = name, b"", 0

    @property
    def text(self) -> str:
        return self._value.decode(errors="replace")

    def on_start(self) -> None:
        self.starts += 1
        if self.starts > 1:
            raise RequestInvalid(f"the form has {self._name!r} more than once")

    def on_data_received(self, chunk: bytes) -> None:
        self._value += chunk
        if len(self._value) > MAX_FIELD_BYTES:
            raise RequestInvalid(f"the field {self._name!r} is too long")
