"""The program that runs as process 1 in Linux guests (agent.c).  The host's side of it is agent/protocol.py."""
