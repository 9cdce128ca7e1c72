// Messages as docs/protocol.md has them: rows and columns in, frames out.

import { encode } from "@msgpack/msgpack";

/** Rows from which columns are cheaper. */
const BATCH_FROM_ROWS = 16;
const LITTLE_ENDIAN = true;

/** One finished call: {server, tool, duration, success, error, cpu, memory, diskIO, ts, callId}; the last six may be missing. */
export function messageOf(rows) {
  // msgpack has one zero among its integers, so a negative zero travels as a float of a column.
  const asColumns = rows.length >= BATCH_FROM_ROWS || rows.some((row) => Object.is(row.duration, -0));
  return asColumns && rows.every(fitsColumns) ? columnsOf(rows) : { kind: "rows", rows: rows.map(toMap) };
}

export function frameOf(message, producer, seq) {
  const envelope = producer === null ? { v: 1 } : { v: 1, producer, seq };
  return encode({ ...envelope, ...message });
}

function toMap(row) {
  const found = {
    mcpServer: text(row.server),
    toolName: text(row.tool),
    duration: row.duration,
    success: row.success,
    timestamp: row.ts,
  };
  if (row.error != null) found.error = text(row.error);
  const resource = Object.entries({ cpu: row.cpu, memory: row.memory, diskIO: row.diskIO }).filter(([, value]) => value != null);
  if (resource.length) found.resource = Object.fromEntries(resource);
  if (row.callId != null) found.callId = row.callId;
  return found;
}

function fitsColumns(row) {
  return (
    [row.server, row.tool].every((name) => typeof name === "string") &&
    typeof row.duration === "number" &&
    typeof row.success === "boolean" &&
    Number.isSafeInteger(row.ts) &&
    [row.cpu, row.memory, row.diskIO].every((value) => value == null || typeof value === "number") &&
    [row.error, row.callId].every((value) => value == null || typeof value === "string")
  );
}

function columnsOf(rows) {
  const codes = new Map();
  const dictionary = [];
  const series = rows.map(({ server, tool }) => {
    const key = JSON.stringify([server, tool]);
    if (!codes.has(key)) {
      codes.set(key, dictionary.length);
      dictionary.push([text(server), text(tool)]);
    }
    return codes.get(key);
  });
  const message = {
    kind: "batch",
    n: rows.length,
    dictionary,
    series: column(series, 2, "setUint16"),
    ts: column(rows.map((row) => BigInt(row.ts)), 8, "setBigInt64"),
    duration: column(rows.map((row) => row.duration), 8, "setFloat64"),
    ok: Uint8Array.from(rows, (row) => (row.success ? 1 : 0)),
  };
  for (const name of ["cpu", "memory", "diskIO"]) {
    if (rows.some((row) => row[name] != null)) {
      message[name] = column(rows.map((row) => row[name] ?? NaN), 8, "setFloat64");
    }
  }
  const errors = sparse(rows.map((row) => row.error || null));
  if (errors) message.errors = errors;
  const callIds = sparse(rows.map((row) => row.callId));
  if (callIds) message.callIds = callIds;
  return message;
}

function column(values, width, setter) {
  const bytes = new Uint8Array(values.length * width);
  const view = new DataView(bytes.buffer);
  values.forEach((value, row) => view[setter](row * width, value, LITTLE_ENDIAN));
  return bytes;
}

/** {row: text}; keys of JavaScript objects are decimal strings, which the protocol takes. */
function sparse(texts) {
  const found = Object.entries(texts).filter(([, value]) => value != null);
  return found.length ? Object.fromEntries(found.map(([row, value]) => [row, text(value)])) : null;
}

function text(value) {
  return typeof value === "string" ? value.toWellFormed() : value;
}
