// The credit window of one connection, as docs/protocol.md has it under "Credit". Times are milliseconds of a steady clock.

const INITIAL_BYTES = 1_048_576;
const LAPSE_MS = 5_000;

export class Window {
  constructor(probeMs) {
    this.probeMs = probeMs;
    this.connected(0);
  }

  connected(now) {
    this.out = 0;
    this.bytes = INITIAL_BYTES;
    this.toldAt = this.sentAt = now;
  }

  told(credit, now) {
    if (Number.isSafeInteger(credit) && credit >= 0) {
      this.bytes = credit;
      this.toldAt = now;
    }
  }

  credit(now) {
    return now - this.toldAt >= LAPSE_MS ? Math.min(this.bytes, INITIAL_BYTES) : this.bytes;
  }

  allows(size, now) {
    const credit = this.credit(now);
    if (credit === 0) return now >= Math.max(this.toldAt, this.sentAt) + this.probeMs;
    return this.out === 0 || this.out + size <= credit;
  }

  sent(size, now) {
    this.out += size;
    this.sentAt = now;
  }

  settled(size) {
    this.out -= size;
  }
}
