"""Abuse cases for the code interpreter, run against its sandbox: `python -m sandbox FILE` (`make sandbox-cases`)."""
