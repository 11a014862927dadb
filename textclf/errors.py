"""Every error that textclf raises on purpose.

::

    TextClassifierError                    exit 1
    ├── SettingsError                      exit 10
    ├── ArtifactError                      exit 11
    │   ├── ArtifactChangedError           exit 12
    │   └── ArtifactMissingError           exit 18
    ├── ModelLoadError                     exit 13
    ├── GoldenMismatchError                exit 14
    ├── DataFileError                      exit 15
    ├── QuantizationError                  exit 16
    ├── InferenceError                     exit 17
    ├── TuningError                        exit 19
    ├── ModelImportError                   exit 20
    │   ├── SourceNotFoundError            exit 21
    │   ├── GraphError                     exit 22
    │   ├── TokenizerError                 exit 23
    │   ├── LabelError                     exit 24
    │   ├── TagTakenError                  exit 25
    │   ├── StoreError                     exit 26
    │   ├── AccessError                    exit 27
    │   ├── DownloadError                  exit 28
    │   ├── UntrustedContentError          exit 29
    │   └── PrecisionError                 exit 42
    ├── RegistrationError                  exit 43
    ├── ImageError                         exit 50
    │   ├── SourceStateError               exit 51
    │   ├── BuildError                     exit 52
    │   ├── DockerError                    exit 53
    │   ├── PublishError                   exit 54
    │   ├── UncheckedImageError            exit 55
    │   ├── RegistryAccessError            exit 56
    │   └── CheckFailedError               exit 60
    │       ├── ContractCheckError         exit 61
    │       ├── AnswerCheckError           exit 62
    │       ├── SafetyCheckError           exit 63
    │       └── OperationCheckError        exit 64
    ├── RolloutError                       exit 70
    │   ├── PlanError                      exit 71
    │   ├── TrafficError                   exit 72
    │   ├── EvidenceError                  exit 73
    │   ├── RolloutStateError              exit 74
    │   ├── RolloutBusyError               exit 75
    │   ├── PreflightError                 exit 76
    │   └── RolledBackError                exit 77
    └── RequestError                       exit 30, status 500
        ├── MalformedRequestError          exit 31, status 400
        ├── UnauthorizedError              exit 32, status 401
        ├── NotFoundError                  exit 33, status 404
        ├── MethodNotAllowedError          exit 34, status 405
        ├── RequestTimeoutError            exit 45, status 408
        ├── BodyTooLargeError              exit 35, status 413
        ├── UnsupportedMediaTypeError      exit 36, status 415
        ├── InvalidRequestError            exit 37, status 422
        ├── QueueFullError                 exit 38, status 429
        ├── RateLimitedError               exit 44, status 429
        ├── HeadTooLargeError              exit 46, status 431
        ├── NotReadyError                  exit 39, status 503
        ├── DeadlineExceededError          exit 40, status 504
        ├── ClientDeadlineError            exit 47, status 504
        └── ClientGoneError                exit 41, status 499

``exit_code`` is what a script exits with; ``http_status`` is what a client sees. A message says
what failed, which object it was and what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class TextClassifierError(Exception):
    """The root: anything textclf refuses or cannot do."""

    exit_code: ClassVar[int] = 1


class SettingsError(TextClassifierError):
    """One or more settings cannot be used; the message names them all."""

    exit_code = 10


class ArtifactError(TextClassifierError):
    """A classifier folder is missing a file or holds one that cannot be read."""

    exit_code = 11


class ArtifactChangedError(ArtifactError):
    """A file of a classifier folder is not the one its description was written for."""

    exit_code = 12


class ArtifactMissingError(ArtifactError):
    """The model store has no model under a tag."""

    exit_code = 18


class ModelLoadError(TextClassifierError):
    """onnxruntime cannot open a graph."""

    exit_code = 13


class GoldenMismatchError(TextClassifierError):
    """A model does not give the answers that were recorded for it."""

    exit_code = 14


class DataFileError(TextClassifierError):
    """A file of texts or labelled sentences cannot be used."""

    exit_code = 15


class QuantizationError(TextClassifierError):
    """A graph cannot be quantised."""

    exit_code = 16


class InferenceError(TextClassifierError):
    """A graph failed on an input, or gave scores that are no numbers."""

    exit_code = 17


class TuningError(TextClassifierError):
    """A file of measurements cannot be read or written."""

    exit_code = 19


class ModelImportError(TextClassifierError):
    """A model cannot be imported; nothing was written to the store."""

    exit_code = 20


class SourceNotFoundError(ModelImportError):
    """There is no model where the source was told to look."""

    exit_code = 21


class GraphError(ModelImportError):
    """The graph is not a sequence classifier that can be served."""

    exit_code = 22


class TokenizerError(ModelImportError):
    """The tokenizer cannot be read, or does not belong to the graph."""

    exit_code = 23


class LabelError(ModelImportError):
    """The labels do not fit the graph."""

    exit_code = 24


class TagTakenError(ModelImportError):
    """The store holds another model under the same tag."""

    exit_code = 25


class StoreError(ModelImportError):
    """The model store cannot be written."""

    exit_code = 26


class AccessError(ModelImportError):
    """The source refuses the credentials, or they do not reach that far."""

    exit_code = 27


class DownloadError(ModelImportError):
    """A source cannot be reached, or what it sends is cut short, too large or too slow."""

    exit_code = 28


class UntrustedContentError(ModelImportError):
    """What a source sent is not what it promised, or could do harm."""

    exit_code = 29


class PrecisionError(ModelImportError):
    """The model cannot be served in the precision that was asked for."""

    exit_code = 42


class RegistrationError(TextClassifierError):
    """A model was not registered, or not as it was shown."""

    exit_code = 43


class ImageError(TextClassifierError):
    """An image cannot be built, checked or published."""

    exit_code = 50


class SourceStateError(ImageError):
    """The clone is not in a state that an image may be named after."""

    exit_code = 51


class BuildError(ImageError):
    """BentoML or Docker cannot build the image."""

    exit_code = 52


class DockerError(ImageError):
    """Docker is not there, does not answer, or refuses."""

    exit_code = 53


class PublishError(ImageError):
    """An image was not published, or not everywhere; the message says where it is."""

    exit_code = 54


class UncheckedImageError(ImageError):
    """There is no passing check report for this very image."""

    exit_code = 55


class RegistryAccessError(ImageError):
    """A registry refuses the credentials, or they do not reach that far."""

    exit_code = 56


class CheckFailedError(ImageError):
    """An image could not be checked to the end."""

    exit_code = 60


class ContractCheckError(CheckFailedError):
    """An image does not keep the HTTP contract."""

    exit_code = 61


class AnswerCheckError(CheckFailedError):
    """An image gives wrong answers."""

    exit_code = 62


class SafetyCheckError(CheckFailedError):
    """An image holds, or may do, what it should not."""

    exit_code = 63


class OperationCheckError(CheckFailedError):
    """An image starts, stops, measures or logs other than it should."""

    exit_code = 64


class RolloutError(TextClassifierError):
    """A rollout cannot go on."""

    exit_code = 70


class PlanError(RolloutError):
    """A plan is malformed, or contradicts itself."""

    exit_code = 71


class TrafficError(RolloutError):
    """An engine cannot be read, or does not move traffic as asked."""

    exit_code = 72


class EvidenceError(RolloutError):
    """What an assessment stands on cannot be read."""

    exit_code = 73


class RolloutStateError(RolloutError):
    """There is no state of a rollout, or another one than asked for."""

    exit_code = 74


class RolloutBusyError(RolloutError):
    """Another controller has the rollout."""

    exit_code = 75


class PreflightError(RolloutError):
    """The candidate fails a check that comes before any traffic."""

    exit_code = 76


class RolledBackError(RolloutError):
    """The rollout ended with all traffic on the stable version."""

    exit_code = 77


class RequestError(TextClassifierError):
    """A request that gets no prediction.

    Attributes:
        http_status: Status of the answer.
        reason: What refused requests are counted by; each class has its own.
        headers: Header fields the answer carries besides the usual ones.
    """

    exit_code = 30
    http_status: ClassVar[int] = 500
    reason: ClassVar[str] = "fault"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = headers or {}


class MalformedRequestError(RequestError):
    """The body is not JSON."""

    exit_code = 31
    http_status = 400
    reason = "malformed"


class UnauthorizedError(RequestError):
    """No key, or one that is not known."""

    exit_code = 32
    http_status = 401
    reason = "unauthorized"


class NotFoundError(RequestError):
    """There is no such path."""

    exit_code = 33
    http_status = 404
    reason = "not_found"


class MethodNotAllowedError(RequestError):
    """The path exists, the method does not."""

    exit_code = 34
    http_status = 405
    reason = "method_not_allowed"


class RequestTimeoutError(RequestError):
    """The request did not arrive in time."""

    exit_code = 45
    http_status = 408
    reason = "slow_request"


class BodyTooLargeError(RequestError):
    """The body is over the limit."""

    exit_code = 35
    http_status = 413
    reason = "too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body is declared to be something other than JSON."""

    exit_code = 36
    http_status = 415
    reason = "media_type"


class InvalidRequestError(RequestError):
    """The body is JSON of the wrong shape.

    Attributes:
        faults: One entry a fault: ``pointer`` (RFC 6901), ``code`` and ``detail``; never the input.
    """

    exit_code = 37
    http_status = 422
    reason = "invalid"

    def __init__(self, detail: str, *, faults: list[dict[str, str]]) -> None:
        super().__init__(detail)
        self.faults = faults


class QueueFullError(RequestError):
    """More texts are waiting than the limit allows."""

    exit_code = 38
    http_status = 429
    reason = "queue_full"


class RateLimitedError(RequestError):
    """A key has asked for more texts than its rate allows."""

    exit_code = 44
    http_status = 429
    reason = "rate_limited"


class HeadTooLargeError(RequestError):
    """The head of the request is over the limit."""

    exit_code = 46
    http_status = 431
    reason = "head_too_large"


class NotReadyError(RequestError):
    """The service is starting, draining, or its model failed its checks."""

    exit_code = 39
    http_status = 503
    reason = "not_ready"


class DeadlineExceededError(RequestError):
    """The answer was not there in time."""

    exit_code = 40
    http_status = 504
    reason = "deadline"


class ClientDeadlineError(RequestError):
    """The answer was not there in the time that the client gave it, less than the service's."""

    exit_code = 47
    http_status = 504
    reason = "client_deadline"


class ClientGoneError(RequestError):
    """The client closed the connection; the status, which is nginx's, is for the log alone."""

    exit_code = 41
    http_status = 499
    reason = "client_gone"
