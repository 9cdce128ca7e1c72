"""Send metrics of tool calls to a running pipeline from any Python program; needs pyzmq and msgpack alone.

`Producer` is the whole interface. Behind it: `buffer` holds what waits, `rows` turns it into a message, `delivery` decides
(pure) what is sent again and what is given up, `sender` is the thread that owns the socket.
"""

from perfmon.producer.api import Producer
from perfmon.producer.buffer import ProducerStats

__all__ = ["Producer", "ProducerStats"]
