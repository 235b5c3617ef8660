"""What an endpoint's answers have cost, and whether another request stays within the budget."""

from collections.abc import Mapping
from typing import Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import EndpointParams


class Ledger:
    """Requests, tokens and money spent over all runs with the same settings; filled from the journal's entries."""

    def __init__(self, params: EndpointParams) -> None:
        self._params, self._budget = params, params.budget
        self.requests = self.input_tokens = self.output_tokens = 0
        self._largest_input = self._uncounted = 0

    @property
    def tokens(self) -> int:
        """Return the number of input and output tokens."""
        return self.input_tokens + self.output_tokens

    @property
    def money(self) -> float | None:
        """Return the cost of all tokens by the prices; None without prices."""
        return self._cost(self.input_tokens, self.output_tokens)

    def _cost(self, read: int, written: int) -> float | None:
        prices = self._params.price_input, self._params.price_output
        if prices[0] is None or prices[1] is None:
            return None
        return (read * prices[0] + written * prices[1]) / 1e6

    def add(self, entry: Mapping[str, Any]) -> None:
        """Count one entry of the journal, an answer or a failure."""
        self.requests += entry["requests"]
        if entry.get("tokens"):
            read, written = entry["tokens"]
            self.input_tokens += read
            self.output_tokens += written
            self._largest_input = max(self._largest_input, read)
        elif "text" in entry:
            self._uncounted += 1

    def check_counted(self) -> None:
        """Raise InputError if the server counts no tokens, but the budget limits them."""
        if self._uncounted and self._limits_tokens():
            raise InputError(
                f"generate.endpoint.budget: {self._params.base_url} does not report the tokens of its answers, so "
                "tokens and money cannot be limited; set both to null, and requests instead"
            )

    def _limits_tokens(self) -> bool:
        return self._budget.tokens is not None or self._budget.money is not None

    def exceeded_by(self, requests: int) -> str | None:
        """Return the name of the budget that so many unanswered requests may exceed, or None.

        A request may take the longest input so far and max_tokens. While no input is known, one at a time fits.
        """
        longest = self._largest_input, self._params.max_tokens
        may_take = {
            "requests": self.requests + requests,
            "tokens": self.tokens + requests * sum(longest),
            "money": (self.money or 0) + requests * (self._cost(*longest) or 0),
        }
        limits = self._budget.model_dump()
        for name, spent in may_take.items():
            if limits[name] is not None and spent > limits[name]:
                return name
        first = self._limits_tokens() and not self._largest_input and requests > 1
        return "tokens" if first else None

    def describe(self, name: str) -> str:
        """Return one budget as spent and limit, for messages."""
        spent, limit = getattr(self, name), getattr(self._budget, name)
        return f"{spent:,.6g} of {limit:,.6g}" if name == "money" else f"{spent:,} of {limit:,}"
