// The command line of the contract tests: one JSON command a line in, one JSON answer a line out. See ../adapters.py.

import { createInterface } from "node:readline";
import { Producer } from "./producer.mjs";

let producer;

const commands = {
  open({ endpoint, acknowledged, maxBuffered, probeS }) {
    producer = new Producer({ endpoint, acknowledged, maxBuffered, probeMs: probeS * 1000 });
    return { producer: producer.id };
  },
  record({ rows }) {
    for (const row of rows) producer.record(row);
  },
  fill({ first, count, ...row }) {
    for (let duration = first; duration < first + count; duration += 1) producer.record({ ...row, duration });
  },
  async flush({ timeoutS }) {
    return { settled: await producer.flush(timeoutS * 1000) };
  },
  stats() {
    return producer.stats();
  },
  async close({ timeoutS }) {
    await producer.close(timeoutS * 1000);
    return producer.stats();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...parameters } = JSON.parse(line);
  console.log(JSON.stringify((await commands[name](parameters)) ?? {}));
}
process.exit(0);
