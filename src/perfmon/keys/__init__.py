"""Who may send metrics over TCP: key pairs of CURVE (ZeroMQ's encryption and authentication), in the user's own config directory.

`ring` holds the server's keys and the list of clients (this machine), `client` the file that is given to a producer. Needs pyzmq
and nothing else; sockets are elsewhere.
"""

from perfmon.keys.client import KEY_FILE_VARIABLE, BadKeys, ClientKeys, load_client_keys
from perfmon.keys.ring import KeyRing, NameTaken, NoKeys, ServerKeys, UnknownName, key_ring

__all__ = [
    "KEY_FILE_VARIABLE",
    "BadKeys",
    "ClientKeys",
    "KeyRing",
    "NameTaken",
    "NoKeys",
    "ServerKeys",
    "UnknownName",
    "key_ring",
    "load_client_keys",
]
