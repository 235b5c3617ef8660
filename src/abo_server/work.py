"""Answer requests: images are read beside the model, which answers an image after another, requests in turn."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from abo_server.limits import Failed, Limits

Reply = dict[str, Any]
# Questions about an image that are answered in one turn: others wait no longer, and a client that left stops there.
QUESTIONS_A_TURN = 32
# Above: images wait for each other, so that a small one does not wait for them. A telephone's photograph is smaller.
LARGE = 16_000_000


class Served(Protocol):
    """A registered model's class (abo_vqa.serving.served_model.ServedModel), as the version has it."""

    version: str
    arm: str

    def group(self, rows: list[dict[Any, Any]]) -> Sequence[Any]:
        """Return the questions by image, checked: image, pixels, places and questions."""

    def read(self, asked: Any) -> Any:
        """Decode an image."""

    def answer(self, asked: Any, image: Any) -> dict[int, Reply]:
        """Return the answers by row."""


class Work:
    """The threads in which requests are answered. What is cancelled before its turn is never done."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._served, self._limits, self._waiting = served, limits, 0
        # A thread each, so that memory holds at most one decoded image of each size, and answers keep their order.
        self._checks, self._small, self._large, self._model = (
            ThreadPoolExecutor(1, name) for name in ("checks", "small", "large", "model")
        )

    async def replies(self, rows: list[Reply]) -> list[Reply]:
        """Return the answer to each row; raises Failed, and what the model raises."""
        if self._waiting >= self._limits.waiting:
            raise Failed(503, f"{self._waiting} requests are waiting; try again later", "TEMPORARILY_UNAVAILABLE")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await self._replies(rows)
        except TimeoutError:
            said = f"no answer within {self._limits.answer_seconds:g} s; try again later, or ask less at once"
            raise Failed(503, said, "TEMPORARILY_UNAVAILABLE") from None
        finally:
            self._waiting -= 1

    async def _replies(self, rows: list[Reply]) -> list[Reply]:
        loop, served, seconds = asyncio.get_running_loop(), self._served, 0.0
        asked = await loop.run_in_executor(self._checks, served.group, rows)
        images = []
        for each in asked:
            lane = self._large if each.pixels > LARGE else self._small
            image, took = await loop.run_in_executor(lane, self._read, each)
            images.append(image)
            seconds += took
            if seconds > self._limits.decode_seconds:
                raise Failed(400, f"decoding the images took {seconds:.0f} s; send fewer or smaller ones")
        found: dict[int, Reply] = {}
        for each, image in zip(asked, images, strict=True):
            for start in range(0, len(each.questions), QUESTIONS_A_TURN):
                part = slice(start, start + QUESTIONS_A_TURN)
                turn = replace(each, places=each.places[part], questions=each.questions[part])
                found |= await loop.run_in_executor(self._model, served.answer, turn, image)
        return [found[place] for place in range(len(rows))]

    def _read(self, asked: Any) -> tuple[Any, float]:
        """Return the image and the seconds that decoding took, without the time that it waited."""
        started = time.monotonic()
        return self._served.read(asked), time.monotonic() - started
