"""Every error of ours: a stable code, what happened, what to do next. Knows no HTTP.

DeepSmileError
├── SlideError               the file cannot be read as a slide; the job fails
│   ├── SlideNotFound            no such file
│   ├── SlideEmpty               zero bytes
│   ├── SlideUnsupported         a file, but no slide that we can read
│   ├── SlideTruncated           its tables point past its end
│   ├── SlideCorrupt             its tables or tiles contradict themselves
│   ├── SlideTooLarge            more pixels, or memory, than we are willing to spend
│   ├── SlideUnreadable          the reader process died on it
│   ├── SlideTimeout             the reader process ran out of time
│   ├── ReaderKilled             the reader process was killed from outside; worth another try
│   └── ArchiveUnsafe            a zip that would unpack to too much, or to elsewhere
├── Abstention               a slide, but no score; an answer, not a failure
│   ├── MppMissing               no microns per pixel in the file or the request
│   ├── MppTooCoarse             its finest level is coarser than the tiles
│   ├── NotHE                    not brightfield, or not the colours of H&E
│   ├── TooLittleTissue          fewer tissue tiles than the head needs
│   ├── OutOfDistribution        unlike the slides that the head was trained on
│   └── Uncertain                the head cannot tell the classes apart as surely as it promises
├── BundleError              a model cannot be used
│   ├── BundleUnknown            no bundle of that name
│   ├── BundleCorrupt            a digest does not match, or a file is missing
│   ├── BundleMismatch           features of another contract, or shapes that do not fit
│   └── BackendMissing           no execution provider, Triton or extra is installed
├── BagCorrupt               a file of saved features is damaged
├── RequestError             the caller must change something
│   ├── RequestInvalid           a field is missing or wrong
│   ├── ContentTypeUnsupported   neither multipart, JSON nor bytes
│   ├── BodyTooLarge             over the upload limit
│   ├── UploadIncomplete         the connection closed before the last byte
│   ├── PathNotAllowed           outside the allowed roots
│   ├── IdempotencyConflict      the same key came with another request
│   ├── JobNotFound              no such job
│   ├── JobNotFinished           it has no result yet
│   └── JobFinished              too late to cancel
├── StorageFull              no room for the upload; worth another try
├── StoreUnavailable         the database does not answer; worth another try
├── BrokerUnavailable        nobody hears the doorbell; jobs are kept until somebody does
├── InferenceUnavailable     the inference server does not answer; jobs wait until it does
├── ServiceUnreachable       the client got no usable answer
├── LeaseLost                the job is another worker's by now; stays inside the worker
├── JobAbandoned             every attempt lost its worker
├── JobCanceled              somebody asked for it
└── InternalError            ours; the log has the rest
"""

from typing import ClassVar


class DeepSmileError(Exception):
    """Base of all our errors: `code` never changes, `hint` says what to do next."""

    code: ClassVar[str] = "error"
    hint: str = "Read the detail; the log of the service has more."
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if hint is not None:
            self.hint = hint


class SlideError(DeepSmileError):
    """The file cannot be read as a slide."""


class SlideNotFound(SlideError):
    code = "slide_not_found"
    hint = "Check the path, and that the service may read it."


class SlideEmpty(SlideError):
    code = "slide_empty"
    hint = "Send the slide again; nothing arrived."


class SlideUnsupported(SlideError):
    code = "slide_unsupported"
    hint = (
        "Convert it to a tiled pyramid, e.g. `vips tiffsave IN OUT.tif --tile --pyramid`;"
        " a slide of several files comes as a zip, or as the path of its folder."
    )


class SlideTruncated(SlideError):
    code = "slide_truncated"
    hint = "The copy stopped early: compare its size with the original and send it again."


class SlideCorrupt(SlideError):
    code = "slide_corrupt"
    hint = "Export the slide again from the scanner or the archive."


class SlideTooLarge(SlideError):
    code = "slide_too_large"
    hint = "Check the dimensions in the file; a real slide stays well below this limit."


class SlideUnreadable(SlideError):
    code = "slide_unreadable"
    hint = "Export the slide again; if it opens elsewhere, report the file's format to us."


class SlideTimeout(SlideError):
    code = "slide_timeout"
    hint = "Raise DEEPSMILE_READER_TIMEOUT_S if the slide is known to be good."


class ReaderKilled(SlideError):
    code = "reader_killed"
    hint = "The machine may be short of memory; the job is tried again."
    retryable = True


class ArchiveUnsafe(SlideError):
    code = "archive_unsafe"
    hint = "Send a plain zip of one slide's files, without nested folders, links or archives."


class Abstention(DeepSmileError):
    """A slide that we decline to score: an answer with a reason, not a failure."""


class MppMissing(Abstention):
    code = "mpp_missing"
    hint = "Send the microns per pixel of level 0 with the request, e.g. mpp=0.25."


class MppTooCoarse(Abstention):
    code = "mpp_too_coarse"
    hint = "Scan at a higher magnification: the model needs finer pixels than the slide has."


class NotHE(Abstention):
    code = "not_he"
    hint = "The model reads brightfield H&E only; send the H&E slide of the block."


class TooLittleTissue(Abstention):
    code = "too_little_tissue"
    hint = "Check the tissue preview with `deepsmile inspect`; send a slide with more tissue."


class OutOfDistribution(Abstention):
    code = "out_of_distribution"
    hint = "Check tissue, stain and scanner against the model card; another slide may do."


class Uncertain(Abstention):
    code = "uncertain"
    hint = "Take it for no answer: have the case tested by other means."


class BundleError(DeepSmileError):
    """A model cannot be used."""


class BundleUnknown(BundleError):
    code = "bundle_unknown"
    hint = "Name one with --bundle, or set DEEPSMILE_DEFAULT_BUNDLE; GET /v1/bundles lists them."


class BundleCorrupt(BundleError):
    code = "bundle_corrupt"
    hint = "Restore the model repository from its source; do not edit its files."


class BundleMismatch(BundleError):
    code = "bundle_mismatch"
    hint = "Use the encoder and the heads of one bundle together."


class BackendMissing(BundleError):
    code = "backend_missing"
    hint = "Install an execution provider: pip install 'deepsmile[cpu]' or 'deepsmile[gpu]'."


class BagCorrupt(DeepSmileError):
    code = "bag_corrupt"
    hint = "Delete the file, and the features are computed again."


class RequestError(DeepSmileError):
    """The caller must change something before asking again."""


class RequestInvalid(RequestError):
    code = "request_invalid"
    hint = "Correct what the detail names."


class ContentTypeUnsupported(RequestError):
    code = "content_type_unsupported"
    hint = "Send multipart/form-data, application/json, or the slide as application/octet-stream."


class BodyTooLarge(RequestError):
    code = "body_too_large"
    hint = "Name the slide by a path in an allowed root, or raise DEEPSMILE_MAX_UPLOAD_BYTES."


class UploadIncomplete(RequestError):
    code = "upload_incomplete"
    hint = "Send the slide again."


class PathNotAllowed(RequestError):
    code = "path_not_allowed"
    hint = "Put the slide under a folder of DEEPSMILE_ALLOWED_ROOTS, or upload it."


class IdempotencyConflict(RequestError):
    code = "idempotency_conflict"
    hint = "Use a new Idempotency-Key for a new request."


class JobNotFound(RequestError):
    code = "job_not_found"
    hint = "List the jobs with GET /v1/jobs."


class JobNotFinished(RequestError):
    code = "job_not_finished"
    hint = "Wait for the job: poll it, or follow its events."


class JobFinished(RequestError):
    code = "job_finished"
    hint = "The job has ended; read its result."


class StorageFull(DeepSmileError):
    code = "storage_full"
    hint = "Free space under the data directory, then send the slide again."
    retryable = True


class StoreUnavailable(DeepSmileError):
    code = "store_unavailable"
    hint = "Try again; if it lasts, check the database that DEEPSMILE_DATABASE_URL names."
    retryable = True


class BrokerUnavailable(DeepSmileError):
    code = "broker_unavailable"
    hint = "Check the broker that DEEPSMILE_BROKER_URL names; jobs start when it is back."
    retryable = True


class InferenceUnavailable(DeepSmileError):
    code = "inference_unavailable"
    hint = "Check the server at DEEPSMILE_TRITON_URL; jobs wait DEEPSMILE_INFERENCE_WAIT_S at most."
    retryable = True


class ServiceUnreachable(DeepSmileError):
    code = "service_unreachable"
    hint = "Start it with `deepsmile up`, or check the URL."
    retryable = True


class LeaseLost(DeepSmileError):
    code = "lease_lost"
    hint = "Nothing to do: another worker has the job."


class JobAbandoned(DeepSmileError):
    code = "job_abandoned"
    hint = "The slide's job took its worker down every time; the log names the cause."


class JobCanceled(DeepSmileError):
    code = "job_canceled"
    hint = "Send the slide again to score it after all."


class InternalError(DeepSmileError):
    code = "internal_error"
    hint = "This is a fault of the service: report it with the job's id."


def _descendants(cls: type[DeepSmileError]) -> list[type[DeepSmileError]]:
    return [kin for sub in cls.__subclasses__() for kin in (sub, *_descendants(sub))]


def error_from_code(code: str, detail: str, hint: str | None = None) -> DeepSmileError:
    """Build the error that `code` names, as it crossed a process or the network."""
    for cls in _descendants(DeepSmileError):
        if cls.__dict__.get("code") == code:
            return cls(detail, hint=hint)
    return InternalError(f"{code}: {detail}", hint=hint)


def all_codes() -> tuple[str, ...]:
    """Every stable code, sorted."""
    return tuple(sorted(c.code for c in _descendants(DeepSmileError) if "code" in c.__dict__))
