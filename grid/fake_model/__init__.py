"""A scripted model server on loopback: what real agent CLIs are checked and tested against, without a key.

It speaks Anthropic Messages, OpenAI Responses and Chat Completions, Gemini and Ollama, streaming and not. No part of it
belongs to a running grid.
"""
