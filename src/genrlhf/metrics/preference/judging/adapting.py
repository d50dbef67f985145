"""What an endpoint's requests turn out to be able to ask for: learned once, for all of them."""

from __future__ import annotations

from collections.abc import Callable

from genrlhf.errors import excerpt
from genrlhf.metrics.preference.judging.request_options import RequestOptions
from genrlhf.openai_client.failures import RequestError, Scope

__all__ = ["AdaptingOptions"]


class AdaptingOptions:
    """The options that requests are made with, changed where the endpoint refuses them or the model needs others.

    Args:
        options: to begin with.
        report: called with every change, in words.

    Attributes:
        options: as they are now.
        changes: made so far, in words.
    """

    def __init__(self, options: RequestOptions, report: Callable[[str], object]) -> None:
        self.options = options
        self.changes: list[str] = []
        self._report = report

    def after_refusal(self, sent: RequestOptions, failure: RequestError, *, answered: bool) -> bool:
        """Say whether a refused request is to be made again, with other options than were sent.

        Args:
            sent: the options of the request.
            failure: what came of it.
            answered: whether other requests were answered.

        Raises:
            RequestError: of the scope RUN, where the endpoint refuses a field that was asked for.
        """
        if sent is not self.options:
            # Another request has met the same.
            return True
        said = " ".join([failure.said, *sorted(failure.codes)])
        if (changed := sent.without_refused(failure.status, said)) is not None:
            self._change(*changed, excerpt(failure.said, 200))
            return True
        name = sent.refused_by_name(failure.status, said)
        if name is not None and not answered:
            message = f"{failure}; the endpoint takes no {name}, or not this one: leave it out (None), or change it"
            raise RequestError(message, Scope.RUN, status=failure.status, said=failure.said)
        return False

    def after_thinking(self, sent: RequestOptions) -> bool:
        """Say whether a request whose answer was cut off in its thinking is to be made again, with more room."""
        if sent is not self.options:
            return self.options.longest is None or (sent.longest or 0) < self.options.longest
        if (changed := sent.for_thinking()) is None:
            return False
        self._change(*changed)
        return True

    def _change(self, options: RequestOptions, words: str, said: str = "") -> None:
        self.options = options
        self.changes.append(words)
        self._report(words + (f"; the endpoint said {said}" if said else ""))
