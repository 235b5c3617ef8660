"""Ask an OpenAI-compatible server one thing: what is sent, what counts as an answer, which failures stop the stage.

Retries with back-off after 429, 5xx, time-outs and broken connections are the openai client's.
"""

import asyncio
import base64
import io
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import BaseModel, Field, ValidationError

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import EndpointParams
from abo_vqa.common.storage import open_image
from abo_vqa.generators.endpoint.kept import BAD_RESPONSE, CONNECTION, HTTP, TIMEOUT

MASK = "***"
LONGEST_MESSAGE = 300  # characters of a server's error message that are shown
# Longest pause that the openai client makes before a retry, on a server's demand.
LONGEST_PAUSE = 120
# Beginnings of files that are sent as they are.
_AS_THEY_ARE = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_KEY_HEADER = "Idempotency-Key"
# Answers of a server that does not know response_format, or not this schema.
_REFUSES_SCHEMA = (400, 422, 501)
_NO_CREDIT = "insufficient_quota"


class Unanswered(Exception):
    """A request without a usable answer after all retries. kind: timeout, connection, bad_response or http_STATUS."""

    def __init__(self, kind: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status


class NotSent(openai.OpenAIError):
    """Raised by `before_each` instead of sending a request; an OpenAIError, since the client retries after others."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)


class _Completion(BaseModel):
    """What is read of a response; servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None
    model: str | None = None


@dataclass(frozen=True)
class Reply:
    """A server's answer. text: empty if the model wrote or may write nothing. finish: the reason why it ended.

    tokens: of input and output, None if the server does not count. model: the name it gives. structured: whether the
    schema was sent.
    """

    text: str
    finish: str | None
    tokens: tuple[int, int] | None
    model: str | None
    structured: bool


def data_url(name: str, data: bytes, side: int | None) -> str:
    """Return an image file as a data URL, as it is, or as a JPEG if larger than `side` pixels or of a rare format.

    name: for the InputError if it cannot be read.
    """
    image = open_image(name, data)
    kind = next((kind for beginning, kind in _AS_THEY_ARE.items() if data.startswith(beginning)), None)
    if kind is None or (side is not None and max(image.size) > side):
        if side is not None:
            image.thumbnail((side, side))
        with io.BytesIO() as file:
            image.save(file, "JPEG", quality=95)
            data, kind = file.getvalue(), "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def request_body(params: EndpointParams, text: str, image: str, seed: int) -> dict[str, Any]:
    """Return what is sent for one image, without the schema. image: a data URL."""
    content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": text}]
    body: dict[str, Any] = {"model": params.model, "messages": [{"role": "user", "content": content}]}
    body |= {"max_tokens": params.max_tokens}
    body |= {} if params.temperature is None else {"temperature": params.temperature}
    return body | ({"seed": seed % 2**31} if params.seed else {})  # some servers read it as a signed number


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the field by which a server is told to answer under a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


class Server:
    """The server of generate.endpoint, to be used within one event loop; `close` it."""

    def __init__(self, params: EndpointParams, before_each: Callable[[], None] = lambda: None) -> None:
        """Open a client. before_each: called before every request, retries included; may raise NotSent.

        InputError: the key's environment variable is unset or holds no key.
        """
        self._params, self._before_each = params, before_each
        self._key = read_key(params.api_key_env)
        self.sent: Counter[str] = Counter()
        self._structured, self._limit = params.structured != "off", "max_tokens"
        self._client = openai.AsyncOpenAI(
            base_url=params.base_url,
            api_key=self._key or "none",  # without one, the client would send OPENAI_API_KEY to any address
            max_retries=params.retries,
            timeout=params.timeout_s,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._count]}),
        )

    async def _count(self, request: Any) -> None:
        self._before_each()
        self.sent[request.headers.get(_KEY_HEADER)] += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def mask(self, text: str) -> str:
        """Return the text without the key, which a server may repeat."""
        return text.replace(self._key, MASK) if self._key else text

    async def ask(self, body: dict[str, Any], schema: dict[str, Any], key: str) -> Reply:
        """Send a request and return its answer. key: the same for every repetition, which some servers answer once.

        The schema is left out once the server has refused it, with `structured: auto`. Raises Unanswered; InputError
        if no other request could be answered either: a wrong key, address or model, or no credit left.
        """
        try:
            return await self._send(body, schema, key, self._structured)
        except Unanswered as refused:
            if self._params.structured != "auto" or not self._structured or refused.status not in _REFUSES_SCHEMA:
                raise
            try:
                reply = await self._send(body, schema, key, False)
            except Unanswered:
                raise refused from None  # for another reason than the schema
            self._structured = False
            return reply

    async def _send(self, body: dict[str, Any], schema: dict[str, Any], key: str, structured: bool) -> Reply:
        extra = {"response_format": response_format(schema)} if structured else {}
        try:
            return await self._post(body | extra, key, structured)
        except Unanswered as refused:
            # New models of OpenAI know this name alone, older servers the other.
            if refused.status != 400 or "max_completion_tokens" not in str(refused) or self._limit != "max_tokens":
                raise
            self._limit = "max_completion_tokens"
            return await self._post(body | extra, key, structured)

    async def _post(self, body: dict[str, Any], key: str, structured: bool) -> Reply:
        body = {self._limit if name == "max_tokens" else name: value for name, value in body.items()}
        attempts = self._params.retries + 1
        try:
            # The client's own time-out begins again with every byte.
            async with asyncio.timeout(attempts * (2 * self._params.timeout_s + LONGEST_PAUSE)):
                raw = await self._client.chat.completions.with_raw_response.create(
                    **body, extra_headers={_KEY_HEADER: key}
                )
        except NotSent:
            raise
        except (TimeoutError, openai.APITimeoutError):
            raise Unanswered(TIMEOUT, f"no answer within {self._params.timeout_s:g} s, {attempts} times") from None
        except openai.APIStatusError as error:
            raise self._failure(error) from None
        except openai.OpenAIError as error:
            cause = type(error.__cause__ or error).__name__
            raise Unanswered(CONNECTION, f"{self._params.base_url}: {cause}, {attempts} times") from None
        try:
            found = _Completion.model_validate_json(raw.content)
        except ValidationError:
            raise Unanswered(BAD_RESPONSE, "the response is no chat completion in JSON") from None
        choice, usage = found.choices[0], found.usage
        return Reply(
            self.mask(choice.message.content or choice.message.refusal or ""),
            choice.finish_reason,
            (usage.prompt_tokens, usage.completion_tokens) if usage else None,
            self.mask(found.model) if found.model else None,
            structured,
        )

    def _failure(self, error: openai.APIStatusError) -> Exception:
        status = error.status_code
        message = self.mask(" ".join(str(error.message).split()))[:LONGEST_MESSAGE]
        variable = self._params.api_key_env
        if status == 402 or error.code == _NO_CREDIT:
            return InputError(f"generate.endpoint: {self._params.base_url} has no credit left for this key: {message}")
        if status in (401, 403):
            fix = f"put a valid key into the environment variable {variable}" if variable else "set api_key_env"
            return InputError(
                f"generate.endpoint.api_key_env: {self._params.base_url} refuses the key: {message}; {fix}"
            )
        if status == 404:
            return InputError(
                f"generate.endpoint: {self._params.base_url} knows no such address or no model {self._params.model!r}: "
                f"{message}; correct base_url, which mostly ends in /v1, or model"
            )
        return Unanswered(f"{HTTP}{status}", message, status)


def read_key(variable: str | None) -> str | None:
    """Return the key in an environment variable, None without one; InputError if it is unset or holds no key."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"generate.endpoint.api_key_env: the environment variable {variable} is not set; put the key into it, or "
            "set api_key_env to null for a server without one"
        )
    # An HTTP library would show it in its error.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"generate.endpoint.api_key_env: {variable} does not hold a key; copy it again")
    return key
