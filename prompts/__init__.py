"""Llama on the wire: messages to token ids, token ids to messages. No I/O, no model, no network."""
