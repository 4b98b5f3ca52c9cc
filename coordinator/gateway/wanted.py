"""Read what a request asks for: model, stream, limits. Pure; every body is taken for a hostile one.

A provider may read a body otherwise than we do: the first of two equal keys, or a key whatever its case. A body that can
be read in two ways is refused, so that the model looked at here is the model that answers.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.gateway import inputs, reaching
from coordinator.gateway.inputs import Input
from coordinator.gateway.routes import Api, Refused, Route

MAX_BODY_BYTES = 32 << 20
"""Of a request, as it is sent and unpacked."""
MOST_OUTPUT_TOKENS = 128_000
"""What a model writes at most when the request sets no limit: more than any known one may."""
LIKELY_OUTPUT_TOKENS = 8_192
_MOST_STATED = 10_000_000
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,178}")
_GUARDED = frozenset({"model", "models", "stream", "tools", "n", "max_tokens", "max_completion_tokens", "options"})
"""Keys that decide: written in another case (`Model`, or with a letter that folds to one of theirs) they are refused."""
_BILLED_APART = ("web_search", "file_search", "code_interpreter", "image_generation")
_BILLED_APART_GEMINI = ("googlesearch", "googlemaps", "enterprisewebsearch")
"""Beginnings of tools that OpenAI and Google run by themselves and bill by the call, which no usage of an answer tells."""


class BadRequestError(Exception):
    """The request cannot be passed on; the message names the fix."""

    def __init__(self, message: str, reason: Refused = Refused.REQUEST) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks for, and the body to pass on."""

    model: str
    input: Input
    """How much there can be of it."""
    is_long: bool = False
    """The model's window may be a longer one than it usually has."""
    other_models: tuple[str, ...] = ()
    """Further ones that it names, for fallbacks and for tools that call a model."""
    streams: bool = False
    output_tokens: int | None = None
    """At most, all answers together; None: the request sets no limit."""
    choices: int = 1
    price_context: Mapping[str, str] = field(default_factory=dict)
    """What changes the price, as `genai_prices` knows it."""
    cache_writes: str = ""
    """`5m` or `1h`: the input may be charged as written to the cache."""
    body: bytes = b""
    reaches: Mapping[str, str] = field(default_factory=dict)
    """Ways in which the provider would reach the network for it, as `reaching` names them."""
    hides_usage: bool = False
    """We asked for the chunk with the usage; the client did not."""


def unpack(raw: bytes, encoding: str) -> bytes:
    """Undo a content encoding, up to the size that a body may have. Raises BadRequestError."""
    data = raw
    for name in reversed([part.strip().lower() for part in encoding.split(",") if part.strip()][:3]):
        if name == "identity":
            continue
        if name not in ("gzip", "x-gzip", "deflate"):
            raise BadRequestError(f"the encoding {name[:20]!r} is not read here; send gzip or none", Refused.ENCODING)
        data = _inflate(data, 47 if name != "deflate" else 15)
    return data


def read(route: Route, body: bytes, *, betas: str = "") -> Wanted:
    """What a request that is billed asks for.

    Args:
        route: Where it goes.
        body: Unpacked.
        betas: What the client's headers switch on at Anthropic's.

    Raises:
        BadRequestError: It cannot be passed on.
    """
    caches: list[object] = []
    parsed = _parse(body, caches)
    model = route.model or parsed.get("model")
    if not isinstance(model, str) or not _MODEL.fullmatch(model):
        raise BadRequestError("`model` must be the plain name of a model", Refused.MODEL)
    if route.model and parsed.get("model", model) not in (model, f"models/{model}"):
        raise BadRequestError("`model` in the body is another one than in the path", Refused.MODEL)
    if tool := _billed_apart(route.api, parsed):
        raise BadRequestError(
            f"the provider bills {tool} apart from tokens, which nobody here can count; go on without it"
        )
    others = tuple(_other_models(parsed))
    output, choices = _limits(route.api, parsed)
    streams = _streams(route, parsed)
    hides, to_send = False, body
    if route.api == Api.CHAT and streams:
        to_send, hides = _with_usage(parsed, body)
    return Wanted(
        model=model,
        other_models=others,
        streams=streams,
        input=inputs.look(route.api, parsed, size=len(body)),
        is_long="context-1m" in betas.lower(),
        output_tokens=output,
        choices=choices,
        price_context=_price_context(parsed),
        cache_writes=_cache_writes(caches),
        body=to_send,
        reaches=reaching.ways(route.api, parsed),
        hides_usage=hides,
    )


def _inflate(data: bytes, bits: int) -> bytes:
    unpacker = zlib.decompressobj(bits)
    try:
        plain = unpacker.decompress(data, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequestError("the body is not packed as its content-encoding says", Refused.ENCODING) from error
    if len(plain) > MAX_BODY_BYTES:
        raise BadRequestError(f"the body unpacks to more than {MAX_BODY_BYTES} bytes", Refused.SIZE)
    if not unpacker.eof or unpacker.unused_data:
        raise BadRequestError("the packed body is cut off, or something follows it", Refused.ENCODING)
    return plain


def _parse(body: bytes, caches: list[object]) -> dict[str, Any]:
    """The body as an object; what any part of it says under `cache_control` is put into `caches`."""

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = _once(pairs)
        # Seen here, where each key is read anyway and has lost its escapes; in an argument of a tool it only makes dearer.
        if found.get("cache_control") is not None:
            caches.append(found["cache_control"])
        return found

    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=made, parse_constant=_no_constant)
    except BadRequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body must be one JSON object in UTF-8") from error
    if not isinstance(parsed, dict):
        raise BadRequestError("the body must be one JSON object")
    folded: dict[str, str] = {}
    for key in parsed:
        same = key.casefold()
        if same in folded or (same in _GUARDED and key != same):
            raise BadRequestError(f"the key {key[:40]!r} can be read in two ways; write it once, in lower case")
        folded[same] = key
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequestError("an object in the body has a key twice; write each once")
    return found


def _no_constant(name: str) -> None:
    raise BadRequestError(f"{name} is no JSON")


def _streams(route: Route, parsed: Mapping[str, Any]) -> bool:
    if route.streams is not None:
        return route.streams
    wish = parsed.get("stream")
    if not isinstance(wish, bool | None):
        raise BadRequestError("`stream` must be true or false")
    return route.api == Api.OLLAMA if wish is None else wish


def _other_models(parsed: Mapping[str, Any]) -> Iterator[str]:
    """Models named beside the main one: lists of fallbacks, and tools that ask a model of their own."""
    for name in ("models", "fallbacks", "fallback_models"):
        for item in _items(parsed.get(name)):
            yield _named(item)
    for tool in inputs.each_tool(parsed.get("tools")):
        for name in ("model", "models"):
            if name in tool:
                for inner in _items(tool[name]) if isinstance(tool[name], list) else [tool[name]]:
                    yield _named(inner)


def _billed_apart(api: Api, parsed: Mapping[str, Any]) -> str:
    """The first tool that costs money beside its tokens without our seeing it; empty for none."""
    if api not in (Api.RESPONSES, Api.CHAT, Api.GEMINI):
        return ""
    if api == Api.CHAT and parsed.get("web_search_options") is not None:
        return "web_search_options"
    for item in inputs.each_tool(parsed.get("tools")):
        # Google's APIs read both spellings of a key, `googleSearch` and `google_search`.
        names = item if api == Api.GEMINI else [item.get("type")]
        known = _BILLED_APART_GEMINI if api == Api.GEMINI else _BILLED_APART
        for name in map(str, names):
            if (name.replace("_", "").casefold() if api == Api.GEMINI else name).startswith(known):
                return name[:40]
    return ""


def _named(item: object) -> str:
    name = item.get("model") if isinstance(item, Mapping) else item
    if not isinstance(name, str) or not _MODEL.fullmatch(name):
        raise BadRequestError("a further model in the body is not the plain name of one", Refused.MODEL)
    return name


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


def _limits(api: Api, parsed: Mapping[str, Any]) -> tuple[int | None, int]:
    """The most the answer may have in tokens, if stated, and how many answers are asked for."""
    settings = parsed.get("generationConfig") or parsed.get("generation_config") or {}
    options = parsed.get("options") or {}
    settings, options = (part if isinstance(part, Mapping) else {} for part in (settings, options))
    stated: list[object] = {
        Api.MESSAGES: [parsed.get("max_tokens")],
        Api.RESPONSES: [parsed.get("max_output_tokens")],
        Api.CHAT: [parsed.get("max_completion_tokens"), parsed.get("max_tokens")],
        Api.GEMINI: [settings.get("maxOutputTokens"), settings.get("max_output_tokens")],
        Api.OLLAMA: [options.get("num_predict")],
    }.get(api, [])
    counts = [count for count in map(_count, stated) if count]
    many = {Api.CHAT: parsed.get("n"), Api.GEMINI: settings.get("candidateCount", settings.get("candidate_count"))}
    choices = _count(many.get(api)) or 1
    return (min(max(counts), _MOST_STATED) * choices if counts else None), choices


def _count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)  # as the JSON of Google's APIs may be written
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        return 0
    return int(min(value, _MOST_STATED))


def _price_context(parsed: Mapping[str, Any]) -> dict[str, str]:
    wishes = {name: parsed.get(name) for name in ("service_tier", "speed")}
    return {name: value for name, value in wishes.items() if isinstance(value, str) and len(value) < 40}


def _cache_writes(caches: Sequence[object]) -> str:
    """The dearest way of writing to a cache that a body may ask for: for an hour, unless all say five minutes."""
    if not caches:
        return ""
    terms = [wish.get("ttl", "5m") if isinstance(wish, Mapping) else "" for wish in caches]
    return "5m" if all(term == "5m" for term in terms) else "1h"


def _with_usage(parsed: dict[str, Any], body: bytes) -> tuple[bytes, bool]:
    """The body with a wish for usage in the stream, the only thing that is ever changed in one."""
    options = parsed.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequestError("`stream_options` must be an object")
    if options and options.get("include_usage") is True:
        return body, False
    changed = {**parsed, "stream_options": {**(options or {}), "include_usage": True}}
    return json.dumps(changed).encode(), True
