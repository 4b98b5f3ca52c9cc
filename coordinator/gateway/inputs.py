"""How much input a request can have at most: by its bytes what lies in the body, a full window for all else. Pure.

A token of text stands for at least one byte of it; no tokenizer promises more (a digit is often a token of its own). Only
what is known to be text in the body is bounded so. A part, a key or a tool that is not in these tables may point to a file
anywhere, so it counts as a full context window: what a provider adds to its API tomorrow is dear here, and never cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.gateway.routes import Api

READS_OF_TOOLS = 3
"""How many full windows a request counts as whose tools the provider runs: it reads the conversation anew after each use."""
MOST_SEARCHES = 10
"""Of the provider's search for which the request sets no limit."""
_IMAGE_TOKENS: Mapping[Api, int] = {Api.MESSAGES: 5_000, Api.RESPONSES: 50_000, Api.CHAT: 50_000}
"""The most that one image in the body counts as, where its provider states a size to which it shrinks every image."""
_TOOL_TOKENS = 2_000
"""What a provider writes for the model about one of its tools that the client runs (a shell, an editor)."""
_LIKELY_BYTES = 3
"""Of one token, in what agents say."""

type Keys = frozenset[str]


def _words(text: str) -> Keys:
    return frozenset(text.split())


_SETTINGS = _words(
    "model models fallbacks fallback_models stream stream_options max_tokens max_completion_tokens max_output_tokens n stop "
    "stop_sequences temperature top_p top_k min_p seed frequency_penalty presence_penalty logit_bias logprobs top_logprobs "
    "metadata user safety_identifier service_tier speed thinking reasoning reasoning_effort effort output_config "
    "output_format response_format text verbosity tool_choice parallel_tool_calls function_call functions truncation store "
    "include prompt_cache_key prompt_cache_retention cache_control client_metadata prediction instructions "
    "generationConfig generation_config safetySettings safety_settings toolConfig tool_config labels "
    "options think format keep_alive raw suffix template"
)
"""Keys of a body whose value is a setting, or text that counts by its bytes."""
_CONTENT = _words("messages system input contents systemInstruction system_instruction tools")
"""Keys of a body that are looked into."""
_INLINE_TYPES = _words(
    "text input_text output_text refusal message thinking redacted_thinking reasoning tool_use tool_result tool_reference "
    "search_result function_call function_call_output custom_tool_call custom_tool_call_output local_shell_call "
    "local_shell_call_output apply_patch_call apply_patch_call_output shell_call_output"
)
_NEEDS = {"message": "content", "reasoning": "encrypted_content"}
"""Without it such an item may be the name of one that the provider keeps."""
_UNTYPED = _words(
    "content parts text functionCall function_call functionResponse function_response response tool_calls stdout"
)
"""One of these makes a part of what has no type; an object with nothing but an `id` names something kept elsewhere."""
_PLAIN = _words(
    "type role name namespace id call_id tool_use_id tool_call_id tool_name text input arguments action operation status phase title "
    "source is_error cache_control citations annotations logprobs thinking signature data summary encrypted_content refusal "
    "reasoning reasoning_content reasoning_details thought thoughtSignature thought_signature tool_calls functionCall "
    "function_call response scheduling willContinue will_continue caller max_output_length stdout stderr outcome"
)
"""Keys of a part whose value is text, whatever it holds: arguments of a tool are the model's own words."""
_DEEPER = _words("content parts output functionResponse function_response")
"""Keys of a part that may hold further parts."""
_INLINE_KEYS = _PLAIN | _DEEPER
_CLIENTS_TOOLS = _words("function custom local_shell apply_patch namespace")
_CLIENTS_TOOLS_BY_DATE = ("bash_", "text_editor_", "computer_", "memory_")
_DECLARATIONS = _words("functionDeclarations function_declarations")
_MEDIA_KEYS = _words(
    "type source image_url detail input_audio file_data filename file inlineData inline_data cache_control title context "
    "citations thoughtSignature thought_signature"
)
_PAYLOAD_KEYS = _words(
    "type media_type mimeType mime_type displayName display_name data url detail format file_data filename"
)


@dataclass(slots=True)
class Input:
    """What is known about the input of one request."""

    most_tokens: int
    """Unless `is_open`."""
    likely_tokens: int
    is_open: bool = False
    """No more can be told than that it fits into the model's window."""
    is_elsewhere: bool = False
    """Nor how much it is likely to be: part of it is not in the body."""
    reads: int = 1
    """How many times the provider may read a full window of it."""
    searches: int = 0
    """Which the provider may make, and bills apart."""


def look(api: Api, parsed: Mapping[str, Any], *, size: int) -> Input:
    """How much input a request can have.

    Args:
        api: How its parts look.
        parsed: The body.
        size: Of the body, in bytes.
    """
    found = Input(most_tokens=size + 1, likely_tokens=size // _LIKELY_BYTES + 1)
    for key, value in parsed.items():
        if value is not None and not _is_setting(key, value):
            found.is_elsewhere = True
    waiting = [parsed[key] for key in _CONTENT if key in parsed and key != "tools"]
    while waiting:  # not by recursion: how deep it goes is up to the client
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if not _is_inline(one):
                _other_part(api, one, found)
            waiting += [one[key] for key in _DEEPER if key in one]
    _tools(api, parsed.get("tools"), found)
    found.is_open = found.is_open or found.is_elsewhere
    return found


def _is_setting(key: str, value: object) -> bool:
    """Whether a key of a body adds nothing to the input but what can be seen, or is looked into."""
    if key == "prompt":  # a text is the input itself, anything else is the name of one
        return isinstance(value, str)
    if key == "context_management":  # leaving things out is harmless; a summary would be one more reading
        edits = value.get("edits", []) if isinstance(value, Mapping) and value.keys() <= {"edits"} else [None]
        return isinstance(edits, list) and all(
            isinstance(edit, Mapping) and str(edit.get("type")).startswith("clear_") for edit in edits
        )
    return key in _SETTINGS or key in _CONTENT


def _other_part(api: Api, part: Mapping[str, Any], found: Input) -> None:
    """Count a part that is no text."""
    if api == Api.OLLAMA and "images" in part and _is_inline({**part, "images": None}):  # packed as text, beside it
        found.is_open = True
        return
    payload = _payload(part)
    if payload is None:
        found.is_elsewhere = True
        return
    most = _IMAGE_TOKENS.get(api) if part.get("type") in ("image", "input_image", "image_url") else None
    found.is_open = found.is_open or most is None
    found.most_tokens += (most or 0) - len(payload)


def _is_inline(part: Mapping[str, Any]) -> bool:
    """Whether a part is text that lies in the body, as a whole."""
    kind = part.get("type")
    if kind is None:
        is_known = any(part.get(key) is not None for key in _UNTYPED)
    else:
        is_known = isinstance(kind, str) and kind in _INLINE_TYPES and bool(part.get(_NEEDS.get(kind, "type")))
    return is_known and (
        part.keys() <= _INLINE_KEYS or all(key in _INLINE_KEYS or value is None for key, value in part.items())
    )


def _payload(part: Mapping[str, Any]) -> str | None:
    """The bytes of an image or a document that lies in the body, packed as text; None when the part is something else."""
    match part:
        case {"type": "image" | "document", "source": {"type": "base64", "data": str(data)} as inner}:
            pass
        case {"type": "input_image", "image_url": str(data)} if data.startswith("data:"):
            inner = {}
        case {"type": "image_url", "image_url": {"url": str(data)} as inner} if data.startswith("data:"):
            pass
        case {"type": "input_audio", "input_audio": {"data": str(data)} as inner}:
            pass
        case {"type": "input_file", "file_data": str(data)}:
            inner = {}
        case {"type": "file", "file": {"file_data": str(data)} as inner}:
            pass
        case {"inlineData": {"data": str(data)} as inner} | {"inline_data": {"data": str(data)} as inner}:
            pass
        case _:
            return None
    return data if part.keys() <= _MEDIA_KEYS and inner.keys() <= _PAYLOAD_KEYS else None


def each_tool(tools: object) -> Iterator[Mapping[str, Any]]:
    """The tools of a body, and those of groups among them (OpenAI's `namespace`)."""
    waiting = [tools]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, dict):
            yield one
            waiting.append(one.get("tools"))


def _tools(api: Api, tools: object, found: Input) -> None:
    for tool in each_tool(tools):
        kind = tool.get("type")
        if api == Api.GEMINI:
            is_ours = tool.keys() <= _DECLARATIONS
        elif isinstance(kind, str) and kind.startswith(_CLIENTS_TOOLS_BY_DATE):
            is_ours, found.most_tokens = True, found.most_tokens + _TOOL_TOKENS
        else:
            is_ours = kind is None or (isinstance(kind, str) and kind in _CLIENTS_TOOLS)
        if not is_ours:
            found.is_open, found.reads = True, READS_OF_TOOLS
            if isinstance(kind, str) and kind.startswith("web_search"):
                uses = tool.get("max_uses")
                found.searches += uses if isinstance(uses, int) and 0 < uses <= MOST_SEARCHES else MOST_SEARCHES
