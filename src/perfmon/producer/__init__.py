"""Send metrics of tool calls to a running pipeline from any Python program; needs pyzmq and msgpack alone.

`Producer` is the whole interface. Behind it: `buffer` holds what waits, `messages` makes of it `columns` or `rows`, `delivery`
decides (pure), within the credit `window`, what is sent, sent again and given up, `sender` is the thread with the `connection`.
"""

from perfmon.producer.api import Producer
from perfmon.producer.stats import ProducerStats

__all__ = ["Producer", "ProducerStats"]
