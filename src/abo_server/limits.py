"""What a request may cost, and the error that says so."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Budgets of the server. Bytes, seconds, and numbers of requests."""

    body: int = 32_000_000  # the largest image as base64 text, and room for questions
    bodies: int = 256_000_000  # of all requests together
    values: int = 100_000  # in a JSON text; each takes more memory than its characters
    waiting: int = 1000  # requests that are read or answered at once
    header_seconds: float = 15  # from the connection, or the last answer, to the end of a request's headers
    body_seconds: float = 60
    room_seconds: float = 30  # that a body waits for other bodies' memory
    decode_seconds: float = 20  # for all images of a request
    answer_seconds: float = 300  # from the whole body to the answer
    send_seconds: float = 30  # until the client has taken the answer
    linger_seconds: float = 5  # that a body is read and dropped, so that a client that is still sending sees the answer


class Failed(Exception):
    """A request that gets an error instead of an answer. status: of HTTP; code: MLflow's name of the error."""

    def __init__(self, status: int, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
