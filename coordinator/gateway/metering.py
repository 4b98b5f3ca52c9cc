"""Read the usage out of an answer while it passes. Pure; what cannot be read counts as not told.

Only lines that hold the word `usage` (or Ollama's counts) are parsed, and of each only the places where a provider puts its
figures: what a model writes stands inside of texts and cannot pass for them. Figures are the last ones only where the API says
so, under the names that it has for them: an answer that ends before, with an error or without a word, has not told its usage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from coordinator.gateway.pricing import Metered
from coordinator.gateway.routes import Api
from coordinator.public_types import Usage

_MAX_LINE_BYTES = 16 << 20
"""Of one line of a stream, or a whole answer that is none; a longer one is passed on unread."""
_MAX_COUNT = 10**10

type _Json = Mapping[str, Any]


class Meter:
    """Takes an answer in as it comes, and passes it on.

    Args:
        api: How the answer tells its usage.
        streams: It comes in lines; False: it is one document.
        hides_usage: Keep the chunk back that holds nothing but usage.
    """

    def __init__(self, api: Api, *, streams: bool, hides_usage: bool = False) -> None:
        self._read = _READERS[api]
        self._api, self._hides = api, hides_usage and streams
        self._is_lines = streams
        self._rest, self._whole, self._size = b"", list[bytes](), 0
        self._is_lost = False
        self._event: list[bytes] = []
        self._seen: dict[str, Any] = {}
        self.is_complete = False
        """The figures are the last ones: what comes after them costs nothing more."""

    def feed(self, chunk: bytes) -> bytes:
        """Take in some bytes; returns what is to be passed on now."""
        if self._is_lost:
            return chunk
        if not self._is_lines:
            self._whole.append(chunk)
            self._size += len(chunk)
            self._bound()
            return chunk
        self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        if self._hides:
            passed = b"".join(self._whole_events(lines))
            return passed + self._give_up() if len(self._rest) > _MAX_LINE_BYTES else passed
        for line in lines:
            self._line(line)
        self._bound()
        return chunk

    def finish(self) -> bytes:
        """The answer has ended by itself; returns what is still to be passed on."""
        left = b""
        if self._is_lines:
            if self._hides and not self._is_lost:
                left = b"\n".join([*self._event, self._rest])
            self._line(self._rest)
            self._rest = b""
        elif not self._is_lost:
            for item in _documents(b"".join(self._whole)):
                self._take(item)
        return left

    def metered(self) -> Metered | None:
        """The usage as far as it is known; None when the provider told none."""
        return _metered(self._api, self._seen) if self._seen else None

    def _whole_events(self, lines: list[bytes]) -> Iterator[bytes]:
        """Events passed on one by one, but for the one that only tells the usage."""
        for line in lines:
            self._event.append(line)
            if line.strip():
                continue
            data = [self._line(part) for part in self._event]
            if not any(item is not None and item.get("usage") and item.get("choices") == [] for item in data):
                yield b"\n".join(self._event) + b"\n"
            self._event = []

    def _line(self, line: bytes) -> _Json | None:
        text = line.strip()
        if text.startswith(b"data:"):
            text = text[5:].strip()
        if b"usage" not in text and b"eval_count" not in text:
            return None
        item = _object(text)
        if item is not None:
            self._take(item)
        return item

    def _take(self, item: _Json) -> None:
        found, is_last = self._read(item, self._seen)
        self._seen.update(found)
        self.is_complete = self.is_complete or is_last

    def _give_up(self) -> bytes:
        """A line beyond all bounds: what is held back of it goes on as it is."""
        held = b"".join(line + b"\n" for line in self._event) + self._rest
        self._event, self._rest, self._is_lost = [], b"", True
        return held

    def _bound(self) -> None:
        if len(self._rest) > _MAX_LINE_BYTES or self._size > _MAX_LINE_BYTES:
            self._rest, self._is_lost = b"", True
            self._whole.clear()


def _object(text: bytes) -> _Json | None:
    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None


def _documents(body: bytes) -> list[_Json]:
    """An answer that is no stream: one object, or Google's list of the parts of a stream."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]


def _messages(item: _Json, seen: _Json) -> tuple[_Json, bool]:
    usage = _part(item, "usage")
    match item.get("type"):
        case "message_start":
            return _part(_part(item, "message"), "usage"), False
        case "message_delta":  # the last one of a stream says why the model stopped, too
            is_last = bool(_part(item, "delta").get("stop_reason")) and _tells(seen, "input_tokens")
            return usage, is_last and _tells(usage, "output_tokens")
        case "message":
            return usage, _tells(usage, "input_tokens", "output_tokens")
    return {}, False


def _responses(item: _Json, _seen: _Json) -> tuple[_Json, bool]:
    kind = str(item.get("type", ""))
    inner = _part(item, "response") if kind.startswith("response.") else item
    usage = _part(inner, "usage")
    is_last = kind in _RESPONSE_ENDS and _tells(usage, "input_tokens", "output_tokens")
    return _with_tier(usage, inner), is_last


def _chat(item: _Json, _seen: _Json) -> tuple[_Json, bool]:
    usage = _part(item, "usage")
    choices = item.get("choices")
    # Some servers tell the usage so far with each piece: the last one has no choices, or says why the model stopped.
    goes_on = isinstance(choices, list) and any(
        isinstance(one, dict) and "delta" in one and not one.get("finish_reason") for one in choices
    )
    return _with_tier(usage, item), _tells(usage, "prompt_tokens", "completion_tokens") and not goes_on


def _gemini(item: _Json, _seen: _Json) -> tuple[_Json, bool]:
    candidates = item.get("candidates")
    ended = bool(_part(item, "promptFeedback").get("blockReason")) or (
        isinstance(candidates, list) and any(isinstance(one, dict) and one.get("finishReason") for one in candidates)
    )
    usage = _part(item, "usageMetadata")
    # A count of zero is left out, so one of the others stands for an answer that has no text.
    told = any(_tells(usage, name) for name in ("candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"))
    return usage, ended and told and _tells(usage, "promptTokenCount")


def _ollama(item: _Json, _seen: _Json) -> tuple[_Json, bool]:
    names = ("prompt_eval_count", "eval_count")
    found = {name: item[name] for name in names if name in item} if item.get("done") is True else {}
    return found, _tells(found, "eval_count")


def _with_tier(usage: _Json, where: _Json) -> _Json:
    tier = where.get("service_tier")
    return {**usage, "service_tier": tier} if usage and isinstance(tier, str) else usage


def _tells(usage: _Json, *names: str) -> bool:
    """Whether there is a count under each of these names."""
    return all(_is_count(usage.get(name)) for name in names)


def _part(item: _Json, name: str) -> _Json:
    found = item.get(name)
    return found if isinstance(found, dict) else {}


_RESPONSE_ENDS = ("", "response.completed", "response.incomplete", "response.failed")
"""What the last event of a stream is called; an answer that is none has no such name."""
_READERS: Mapping[Api, Callable[[_Json, _Json], tuple[_Json, bool]]] = {
    Api.MESSAGES: _messages,
    Api.RESPONSES: _responses,
    Api.CHAT: _chat,
    Api.GEMINI: _gemini,
    Api.OLLAMA: _ollama,
}


def _metered(api: Api, seen: _Json) -> Metered:
    tier = seen.get("service_tier")
    context = {"service_tier": tier} if isinstance(tier, str) and len(tier) < 40 else {}
    match api:
        case Api.MESSAGES:
            read, written = _count(seen, "cache_read_input_tokens"), _count(seen, "cache_creation_input_tokens")
            speed = seen.get("speed")
            return Metered(
                usage=Usage(
                    input_tokens=_count(seen, "input_tokens") + read + written,
                    output_tokens=_count(seen, "output_tokens"),
                    cache_read_tokens=read,
                    cache_write_tokens=written,
                ),
                cache_write_1h_tokens=min(written, _count(_part(seen, "cache_creation"), "ephemeral_1h_input_tokens")),
                web_searches=_count(_part(seen, "server_tool_use"), "web_search_requests"),
                context=context | ({"speed": speed} if isinstance(speed, str) and len(speed) < 40 else {}),
            )
        case Api.RESPONSES:
            return _of(
                _count(seen, "input_tokens"),
                _count(seen, "output_tokens"),
                _count(_part(seen, "input_tokens_details"), "cached_tokens"),
                context,
            )
        case Api.CHAT:
            return _of(
                _count(seen, "prompt_tokens"),
                _count(seen, "completion_tokens"),
                _count(_part(seen, "prompt_tokens_details"), "cached_tokens"),
                context,
            )
        case Api.GEMINI:
            return _of(
                _count(seen, "promptTokenCount") + _count(seen, "toolUsePromptTokenCount"),
                _count(seen, "candidatesTokenCount") + _count(seen, "thoughtsTokenCount"),
                _count(seen, "cachedContentTokenCount"),
                context,
            )
        case _:
            return _of(_count(seen, "prompt_eval_count"), _count(seen, "eval_count"), 0, context)


def _of(inputs: int, outputs: int, cached: int, context: Mapping[str, str]) -> Metered:
    usage = Usage(input_tokens=inputs, output_tokens=outputs, cache_read_tokens=min(cached, inputs))
    return Metered(usage=usage, context=context)


def _count(values: _Json, name: str) -> int:
    value = values.get(name)
    return int(value) if _is_count(value) else 0


def _is_count(value: object) -> TypeGuard[int | float]:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < _MAX_COUNT
