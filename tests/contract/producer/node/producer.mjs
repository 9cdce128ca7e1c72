// A producer in another language: it knows of Performance Monitor what docs/protocol.md says, and nothing else.
//
//     const producer = new Producer({ endpoint: "ipc:///tmp/perfmon-1000/0123456789ab/ingest.write" });
//     producer.record({ server: "files", tool: "read", duration: 12.5, success: true });
//     await producer.flush(5_000);
//     await producer.close(2_000);

import { randomBytes } from "node:crypto";
import { decode } from "@msgpack/msgpack";
import * as zmq from "zeromq";
import { frameOf, messageOf } from "./messages.mjs";
import { Window } from "./window.mjs";

const MAX_MESSAGE_ROWS = 2_000;
const MAX_IN_FLIGHT = 256;
const ACK_TIMEOUT_MS = 1_000;
const MAX_ACK_TIMEOUT_MS = 8_000;
const RETRY_PAUSE_MS = 100;
const MAX_RETRY_PAUSE_MS = 5_000;
const TURN_MS = 20;
const TRY_AGAIN = new Set(["journal_full", "disk_full", "storage_failed"]);

const clock = () => performance.now();

export class Producer {
  #options;
  #rows = [];
  #inFlight = new Map(); // seq → {seq, frame, rows, out}, ascending
  #seq = 0;
  #window;
  #counts = { recorded: 0, acknowledged: 0, duplicates: 0, sent: 0, dropped: 0, rejected: 0, resent: 0 };
  #lastError = null;
  #failures = 0;
  #notBefore = 0;
  #progressAt = 0;
  #stopBy = Infinity;
  #wake = () => {};
  #running;

  /** acknowledged: false pushes to `ingest.push` and forgets. maxBuffered: rows that wait; the oldest are dropped beyond. */
  constructor({ endpoint, acknowledged = true, name = "node", maxBuffered = 10_000, probeMs = 5_000 }) {
    this.#options = { endpoint, acknowledged, maxBuffered };
    this.id = `${name}-${process.pid}-${randomBytes(8).toString("hex")}`;
    this.#window = new Window(probeMs);
    this.#running = this.#run();
  }

  record(row) {
    this.#counts.recorded += 1;
    this.#rows.push({ ...row, ts: row.ts ?? Date.now() });
    if (this.#rows.length > this.#options.maxBuffered) {
      this.#rows.shift();
      this.#counts.dropped += 1;
      this.#lastError = "buffer_full";
    }
    this.#wake();
  }

  stats() {
    const inFlight = [...this.#inFlight.values()].reduce((sum, message) => sum + message.rows, 0);
    return { ...this.#counts, inFlight, buffered: this.#rows.length, lastError: this.#lastError };
  }

  /** Whether all that was recorded is acknowledged, rejected or dropped within the time. */
  async flush(timeoutMs) {
    const deadline = clock() + timeoutMs;
    while (this.#rows.length || this.#inFlight.size) {
      if (clock() >= deadline) return false;
      await sleep(2);
    }
    return true;
  }

  async close(timeoutMs) {
    this.#stopBy = clock() + timeoutMs;
    this.#wake();
    await this.#running;
    const { inFlight, buffered } = this.stats();
    this.#counts.dropped += inFlight + buffered;
    this.#inFlight.clear();
    this.#rows = [];
  }

  async #run() {
    while (!this.#ended()) {
      await this.#connection();
    }
  }

  /** One connection's life: until the end, or until it is lost or its answers are overdue. */
  async #connection() {
    const { acknowledged, endpoint } = this.#options;
    const options = { immediate: true, reconnectInterval: 20, reconnectMaxInterval: 200, sendTimeout: 200 };
    const socket = acknowledged
      ? new zmq.Dealer({ ...options, linger: 0 })
      : new zmq.Push({ ...options, linger: 1_000, sendHighWaterMark: 32 });
    const state = { up: false, lost: false };
    socket.events.on("handshake", () => ((state.up = true), this.#wake()));
    socket.events.on("disconnect", () => ((state.lost = true), this.#wake()));
    socket.connect(endpoint);
    const reading = acknowledged ? this.#read(socket) : null;
    this.#connected();
    try {
      while (!this.#ended() && !(state.lost && acknowledged) && !this.#overdue()) {
        const message = state.up ? this.#next() : null;
        if (!message || !(await this.#send(socket, message))) await this.#turn();
      }
    } finally {
      socket.close();
      await reading;
    }
  }

  async #read(socket) {
    try {
      for await (const frames of socket) {
        this.#answered(decode(frames.at(-1)));
        this.#wake();
      }
    } catch (error) {
      this.#lastError = String(error); // a frame that is none of ours, or a socket that was closed
    }
  }

  #connected() {
    const again = [...this.#inFlight.values()].filter((message) => message.out);
    for (const message of again) message.out = false;
    this.#counts.resent += again.length;
    this.#window.connected(clock());
    this.#progressAt = clock();
  }

  /** The message to send now: the oldest that is not out, else a new one of what waits. */
  #next() {
    const now = clock();
    if (now < this.#notBefore) return null;
    let message = [...this.#inFlight.values()].find((waiting) => !waiting.out);
    if (!message && this.#rows.length && this.#mayGrow(now)) message = this.#load();
    const goes = message && (!this.#options.acknowledged || this.#window.allows(message.frame.length, now));
    return goes ? message : null;
  }

  #mayGrow(now) {
    const [oldest] = this.#inFlight.keys();
    return (oldest === undefined || this.#seq + 1 < oldest + MAX_IN_FLIGHT) && this.#window.allows(1, now);
  }

  #load() {
    const left = Math.max(1, Math.floor((this.#window.credit(clock()) - this.#window.out) / 256));
    const rows = this.#rows.splice(0, Math.min(MAX_MESSAGE_ROWS, left));
    this.#seq += 1;
    const frame = frameOf(messageOf(rows), this.#options.acknowledged ? this.id : null, this.#seq);
    const message = { seq: this.#seq, frame, rows: rows.length, out: false };
    this.#inFlight.set(message.seq, message);
    return message;
  }

  async #send(socket, message) {
    const first = this.#window.out === 0;
    message.out = true;
    this.#window.sent(message.frame.length, clock());
    try {
      await socket.send(message.frame);
    } catch (error) {
      message.out = false;
      this.#window.settled(message.frame.length);
      this.#lastError = String(error.code ?? error);
      return false;
    }
    if (first) this.#progressAt = clock();
    if (!this.#options.acknowledged) {
      this.#counts.sent += message.rows;
      this.#done(message);
    }
    return true;
  }

  #answered(body) {
    const now = clock();
    if (body.kind === "ack" || body.kind === "credit") this.#window.told(body.credit, now);
    const refused = body.kind === "reply" && body.ok === false;
    const oldest = [...this.#inFlight.values()].find((message) => message.out);
    const message = refused ? oldest : body.kind === "ack" && body.producer === this.id ? this.#inFlight.get(body.seq) : null;
    if (!message) return;
    this.#progressAt = now;
    if (body.error) return this.#refused(message, body.error.code, now);
    this.#failures = 0;
    this.#counts.rejected += body.rejectedTotal;
    this.#counts.acknowledged += message.rows - body.rejectedTotal;
    this.#counts.duplicates += body.duplicates;
    if (body.rejectedTotal) this.#lastError = body.rejected[0][1];
    this.#done(message);
  }

  #refused(message, code, now) {
    this.#lastError = code;
    if (!TRY_AGAIN.has(code)) {
      this.#counts.rejected += message.rows;
      this.#done(message);
      return;
    }
    if (message.out) this.#window.settled(message.frame.length);
    message.out = false;
    if (now >= this.#notBefore) {
      this.#notBefore = now + Math.min(RETRY_PAUSE_MS * 2 ** this.#failures, MAX_RETRY_PAUSE_MS);
      this.#failures += 1;
    }
  }

  #done(message) {
    if (message.out) this.#window.settled(message.frame.length);
    this.#inFlight.delete(message.seq);
  }

  #overdue() {
    const limit = Math.min(ACK_TIMEOUT_MS * 2 ** this.#failures, MAX_ACK_TIMEOUT_MS);
    const overdue = this.#options.acknowledged && this.#window.out > 0 && clock() - this.#progressAt >= limit;
    if (overdue) this.#failures += 1;
    return overdue;
  }

  #ended() {
    if (this.#stopBy === Infinity) return false;
    return clock() >= this.#stopBy || (!this.#rows.length && !this.#inFlight.size);
  }

  /** Until something happened, at most a short while. */
  #turn() {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, TURN_MS);
      this.#wake = () => (clearTimeout(timer), resolve());
    });
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
