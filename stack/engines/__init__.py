"""Models behind one protocol: `vllm` (a server, over HTTP), `local` (in this process), `recorded` (replayed).

All of them take token ids and give token ids, end at `Sampling.stop_ids` and at the model's own end-of-sequence
ids, and let go of the request when their iterator is closed.
"""
