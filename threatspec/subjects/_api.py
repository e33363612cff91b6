"""A client of OpenAI-compatible interfaces: what fails for a moment is tried again, a few times.

Nothing here is called unless a spec names an endpoint. The key comes from the environment, goes
into one header, and is cut out of whatever a server says.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    import httpx

__all__ = ["Api", "Endpoint", "EndpointError", "field", "parse_endpoint"]

T = TypeVar("T")
KEY = "OPENAI_API_KEY"
"""Environment variable of the key where a reference names no other."""
ATTEMPTS = 5
_LONGEST_WAIT = 60.0
_MOMENTARY = frozenset({408, 409, 429, 500, 502, 503, 504})
_NOT_DONE = frozenset({429})
"""What says that nothing was done; a request that must not be made twice is repeated only then."""
_VARIABLE = re.compile(r"(?=.*(KEY|TOKEN))[A-Z_][A-Z0-9_]*")
"""A spec may come from somebody else: it names no other secret of the environment."""
_FORM = "endpoint:URL#MODEL, or endpoint:URL#MODEL?key=VARIABLE"


class EndpointError(ThreatspecError):
    """A hosted interface failed or answered what it may not."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__("TS-ENDPOINT", message)
        self.status = status
        """HTTP status of the answer; 0 if there was none, or its content is what is wrong."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a hosted model is."""

    url: str
    """Base address, without a slash at the end: paths such as `/chat/completions` follow it."""
    model: str
    key: str = ""
    """Environment variable that holds the key; empty = `OPENAI_API_KEY`, if there is one."""
    continues: bool = False
    """Whether a conversation that ends with words of the assistant is continued from there."""
    logprobs: bool = False
    """Whether bare text is taken too (`/completions`), and told with log-probabilities (`echo`)."""


def parse_endpoint(ref: str) -> Endpoint:
    """The endpoint that a subject's reference means.

    `endpoint:URL#MODEL`, then perhaps `?` and any of `key=VARIABLE`, `continues=yes` and
    `logprobs=yes`, with `&` between them.

    Raises ThreatspecError TS-MODEL-MISSING for a reference of another form.
    """
    address, _, rest = ref.removeprefix("endpoint:").partition("#")
    model, _, options = rest.partition("?")
    parts, given = urlsplit(address), parse_qs(options, keep_blank_values=True)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not model:
        raise _malformed(f"an endpoint must be {_FORM}, but got {ref!r}")
    if parts.username or parts.password or parts.query:
        text = "an endpoint's address is written to records and must hold no key"
        raise _malformed(f"{text}; name an environment variable instead: {_FORM}")
    unknown = sorted(set(given) - {"key", "continues", "logprobs"})
    if unknown:
        text = f"options of an endpoint are key, continues and logprobs, but got {unknown[0]!r}"
        raise _malformed(text)
    if "key" in given and not _VARIABLE.fullmatch(given["key"][0]):
        text = f"`key` must name an environment variable with KEY or TOKEN in it, in {ref!r}"
        raise _malformed(text)
    return Endpoint(
        url=address.rstrip("/"),
        model=model,
        key=given.get("key", [""])[0],
        continues=given.get("continues", ["no"])[0] == "yes",
        logprobs=given.get("logprobs", ["no"])[0] == "yes",
    )


def _malformed(message: str) -> ThreatspecError:
    return ThreatspecError("TS-MODEL-MISSING", message)


class Api:
    """One open connection to an endpoint; to be used in a `with` block.

    Args:
        endpoint: where it is.
        sleep: how waiting is done, in seconds.
        timeout: seconds one request may take.
        attempts: how often a request that fails for a moment is made at most.

    Raises EndpointError if the variable that the reference names is not set.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sleep: Callable[[float], None] = time.sleep,
        timeout: float = 300.0,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.endpoint, self.sleep, self._timeout = endpoint, sleep, timeout
        self._attempts = attempts
        self._key = os.environ.get(endpoint.key or KEY, "")
        if endpoint.key and not self._key:
            text = f"the environment variable {endpoint.key} must hold the key of {endpoint.url}"
            raise EndpointError(f"{text}, but is not set")

    def __enter__(self) -> Self:
        import httpx

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(headers=headers, timeout=self._timeout)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Answer to GET. Raises EndpointError."""
        return self._call("GET", path, params=parameters)

    def post(self, path: str, body: Mapping[str, Any], *, twice: bool = True) -> dict[str, Any]:
        """Answer to POST; `twice` = it does no harm to make the request twice.

        Raises EndpointError.
        """
        return self._call("POST", path, twice=twice, json=dict(body))

    def upload(self, path: str, name: str, content: bytes, **fields: str) -> dict[str, Any]:
        """Answer to POST of a file. Raises EndpointError."""
        return self._call("POST", path, data=fields, files={"file": (name, content)})

    def delete(self, path: str) -> dict[str, Any]:
        """Answer to DELETE. Raises EndpointError."""
        return self._call("DELETE", path)

    def _call(
        self, method: str, path: str, *, twice: bool = True, **content: Any
    ) -> dict[str, Any]:
        again = _MOMENTARY if twice else _NOT_DONE
        for attempt in range(1, self._attempts + 1):
            reply, failure, unsent = self._once(method, path, content)
            if reply is not None and reply.status_code < 400:
                return self._object(reply, method, path)
            status = reply.status_code if reply is not None else 0
            momentary = status in again or (not status and (twice or unsent))
            if attempt == self._attempts or not momentary:
                break
            self.sleep(_wait(attempt, reply))
        tries = f" after {attempt} attempts" if attempt > 1 else ""
        raise EndpointError(
            f"{self.endpoint.url} must answer {method} {path}, but{tries} {failure}"
            + self._remedy(status), status,
        )  # fmt: skip

    def _once(
        self, method: str, path: str, content: dict[str, Any]
    ) -> tuple[httpx.Response | None, str, bool]:
        """Answer, what is wrong with it, and whether the request never left."""
        import httpx

        try:
            reply = self._client.request(method, self.endpoint.url + path, **content)
        except httpx.TransportError as error:
            text = f"there was no answer: {type(error).__name__}: {self._clean(str(error))}"
            return None, text, isinstance(error, httpx.ConnectError)
        return reply, f"answered {reply.status_code}: {self._clean(reply.text)}", False

    def _object(self, reply: httpx.Response, method: str, path: str) -> dict[str, Any]:
        try:
            found = reply.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            text = f"must answer {method} {path} with a JSON object, but answered"
            raise EndpointError(f"{self.endpoint.url} {text} {self._clean(reply.text)!r}")
        return found

    def _remedy(self, status: int) -> str:
        if status not in {401, 403}:
            return ""
        variable = self.endpoint.key or KEY
        return f"; the key is read from {variable}, which is {'set' if self._key else 'not set'}"

    def _clean(self, text: str) -> str:
        """What a server says, in one line of bearable length and without the key."""
        line = " ".join(text.split())[:500]
        return line.replace(self._key, "[key]") if self._key else line


def _wait(attempt: int, reply: httpx.Response | None) -> float:
    """Seconds before the next attempt: what the server asks for, else twice as long each time."""
    asked = reply.headers.get("Retry-After", "") if reply is not None else ""
    wait = float(asked) if re.fullmatch(r"\d+(\.\d+)?", asked) else float(2 ** (attempt - 1))
    return min(wait, _LONGEST_WAIT)


def field(data: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    """Entry `name` of an answer. Raises EndpointError if it is missing or of another type."""
    value = data.get(name)
    if not isinstance(value, kind):
        text = f"{where} must have `{name}` ({kind.__name__}), but it is {value!r}"
        raise EndpointError(text[:300])
    return value
