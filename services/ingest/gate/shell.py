"""The gate's sockets: CURVE over TCP in front, one DEALER a client to `ingest.write` behind.

Owns the listening socket, libzmq's questions about keys (ZAP) and its events, and what is passed on. Who is let in is `zap`'s to
say, which message is `admission`'s; what becomes of connections is counted by `handshakes`.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections import Counter
from functools import partial
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from perfmon.keys import KeyRing, key_ring
from perfmon.wire import MAX_FRAME_BYTES
from services.ingest.gate.admission import turned_away
from services.ingest.gate.clients import Clients, Socket
from services.ingest.gate.handshakes import EVENTS, Handshakes
from services.ingest.gate.zap import DOMAIN, judge
from shared.runtime.service import Service

#: The gate's name, of its lock and of its own queries' socket.
NAME: Final = "ingest.gate"
#: What a stranger may keep open without proving who it is. Each may make libzmq hold one frame (16 MiB) until then.
HANDSHAKE_MS: Final = 3_000
#: Messages of one client that libzmq takes from the wire before we do; beyond it TCP holds the client up.
RECEIVE_HWM: Final = 64
#: Messages taken in a turn, so that answers go out in between.
TURN_MESSAGES: Final = 64
#: A client whose machine went away is noticed after this.
HEARTBEAT_MS: Final = 2_000
HEARTBEAT_TIMEOUT_MS: Final = 6_000
#: How long to wait when ingest takes no more.
RETRY_S: Final = 0.002
#: How often the key ring is looked at, and a port that was taken is tried again.
TICK_S: Final = 1.0
REBIND_S: Final = 5.0
#: A key that is not let in hears so after this long (within the handshake's time), so that whoever comes again at once costs
#: a handshake a second and not a core. As many at a time wait for it at the most; more hear so at once.
REFUSE_AFTER_S: Final = 1.0
MAX_REFUSALS_HELD: Final = 1_024
#: Whatever comes in, the gate has no more memory and descriptors than this; past it it ends and is started again.
MAX_DATA_BYTES: Final = 1024 * 1024 * 1024
MAX_DESCRIPTORS: Final = 4_096


def build(service: Service) -> None:
    """Bind, or keep trying to; ready once it listens."""
    _limit(resource.RLIMIT_DATA, MAX_DATA_BYTES)
    _limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    Gate(service, key_ring()).start()


class Gate:
    """Passes on what `turned_away` does not turn away, and the answers."""

    def __init__(self, service: Service, ring: KeyRing) -> None:
        self._service = service
        self._log = service.log
        self._ring = ring
        self._listed = ring.clients()
        self._ring_version = ring.version()
        self._endpoint = service.settings.ingest_tcp
        self._handshakes = Handshakes(HANDSHAKE_MS / 1000 + TICK_S)
        self._clients = Clients(service.data.endpoint("ingest.write"), self._opened, self._closing)
        # A context of its own: its ZAP handler answers for nobody else's sockets.
        self._context: zmq.Context[Socket] = zmq.Context()
        self._held: tuple[Socket, list[bytes]] | None = None
        self._bind_at = 0.0
        self._forwarded: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._undeliverable_total = 0
        self._refusals_held = 0

    def start(self) -> None:
        """Serve until the end."""
        service = self._service
        self._zap = self._context.socket(zmq.ROUTER)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind("inproc://zeromq.zap.01")
        self._front = self._front_socket()
        self._events = self._monitor(self._front)
        service.watch(self._zap, self._on_zap)
        service.watch(self._events, self._on_events)
        service.watch(self._front, self._from_clients)
        service.every(TICK_S, self._tick)
        service.on_stop(self._stop)
        service.stats.update(
            endpoint=lambda: self._endpoint,
            listed=lambda: len(self._listed),
            connections=lambda: self._handshakes.connections,
            accepted_total=lambda: self._handshakes.accepted_total,
            deniedByReason=lambda: dict(self._handshakes.denied_total),
            refusedByReason=lambda: dict(self._refused),
            forwarded_total=lambda: sum(self._forwarded.values()),
            forwardedByClient=lambda: dict(self._forwarded),
            undeliverable_total=lambda: self._undeliverable_total,
        )
        service.serve()
        self._bind()

    # --- connections ----------------------------------------------------------------------------------------------

    def _front_socket(self) -> Socket:
        keys = self._ring.server()
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public_key.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret_key.encode())
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
        socket.setsockopt(zmq.SNDTIMEO, 0)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.setsockopt(zmq.IPV6, int("[" in self._endpoint))
        return socket

    def _monitor(self, socket: Socket) -> Socket:
        socket.monitor("inproc://events", EVENTS)
        events = self._context.socket(zmq.PAIR)
        # Without a limit: at one, libzmq's own thread would wait for us.
        events.setsockopt(zmq.RCVHWM, 0)
        events.setsockopt(zmq.LINGER, 0)
        events.connect("inproc://events")
        return events

    def _bind(self) -> None:
        self._bind_at = time.monotonic() + REBIND_S
        try:
            self._front.bind(self._endpoint)
        except zmq.ZMQError as error:
            self._log.error("cannot_listen", endpoint=self._endpoint, reason=str(error))
            return
        self._service.ready = True
        self._log.info("listening", endpoint=self._endpoint, listed=len(self._listed))

    def _on_zap(self) -> None:
        while self._zap.poll(0):
            self._look_at_ring()
            who, delimiter, *question = self._zap.recv_multipart()
            judgement = judge(question, self._listed)
            reply = [who, delimiter, *judgement.reply]
            if judgement.refused is not None:
                self._handshakes.denied_total[judgement.refused] += 1
                if self._refusals_held < MAX_REFUSALS_HELD:
                    self._refusals_held += 1
                    self._service.after(REFUSE_AFTER_S, partial(self._refuse, reply))
                    continue
            self._zap.send_multipart(reply)

    def _refuse(self, reply: list[bytes]) -> None:
        self._refusals_held -= 1
        if not self._zap.closed:
            self._zap.send_multipart(reply)

    def _on_events(self) -> None:
        while self._events.poll(0):
            event: dict[str, Any] = dict(parse_monitor_message(self._events.recv_multipart()))
            self._handshakes.event(int(event["event"]), int(event["value"]), time.monotonic())

    def _look_at_ring(self) -> None:
        version = self._ring.version()
        if version != self._ring_version:
            self._listed, self._ring_version = self._ring.clients(), version
            self._log.info("key_ring_changed", listed=len(self._listed))

    # --- messages -------------------------------------------------------------------------------------------------

    def _from_clients(self) -> None:
        for _ in range(TURN_MESSAGES):
            if self._held is not None:
                return
            try:
                frames = self._front.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            key = str(frames[-1].get("User-Id"))
            self._take(key, [frame.bytes for frame in frames])

    def _take(self, key: str, frames: list[bytes]) -> None:
        turned = turned_away(key, len(frames), frames[-1], self._listed)
        if turned is not None:
            self._refused[turned.reason] += 1
            self._answer([*frames[:-1][:3], turned.answer])
            return
        self._forwarded[self._listed[key]] += 1
        self._pass_on(self._clients.socket(frames[0], time.monotonic()), frames[1:])

    def _pass_on(self, socket: Socket, frames: list[bytes]) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            # Ingest takes no more: neither do we, and TCP tells the clients.
            self._held = (socket, frames)
            self._service.unwatch(self._front)
            self._service.after(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        if self._held is None:
            return
        (socket, frames), self._held = self._held, None
        if not socket.closed:
            self._pass_on(socket, frames)
        if self._held is None:
            self._service.watch(self._front, self._from_clients)

    def _opened(self, client: bytes, socket: Socket) -> None:
        self._service.watch(socket, partial(self._from_ingest, client, socket))

    def _closing(self, socket: Socket) -> None:
        self._service.unwatch(socket)

    def _from_ingest(self, client: bytes, socket: Socket) -> None:
        for _ in range(TURN_MESSAGES):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer([client, *frames])

    def _answer(self, frames: list[bytes]) -> None:
        try:
            self._front.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            # The client is gone or takes nothing; it sends again, and is told then.
            self._undeliverable_total += 1

    # --- the clock ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        self._look_at_ring()
        self._handshakes.tick(now)
        self._clients.expire(now)
        if not self._service.ready and now >= self._bind_at:
            self._bind()

    def _stop(self) -> None:
        for socket in (self._front, self._events, self._zap):
            socket.close(linger=0)
        self._clients.close()
        self._context.term()


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    with contextlib.suppress(OSError, ValueError):  # a system without this limit
        resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
