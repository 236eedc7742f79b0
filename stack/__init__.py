"""The API layer: engines, shields, the turn loop, the event log, the server."""
