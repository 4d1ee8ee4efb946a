// Calls functions of the page's modules for the tests: jobs as JSON on standard input, results on standard output.
// An array is {"$array": [type, base64]}; a geometry is {"$geometry": {...}}.

import { readFileSync } from "node:fs";

const jobs = JSON.parse(readFileSync(0, "utf8"));
const { Geometry } = await import(jobs.geometry);

const TYPES = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int32: Int32Array, int64: BigInt64Array };

function revive(value) {
  if (value === null || typeof value !== "object") return value;
  if (value.$geometry) return new Geometry(value.$geometry);
  if (value.$array) {
    const bytes = Uint8Array.from(Buffer.from(value.$array[1], "base64"));
    return new TYPES[value.$array[0]](bytes.buffer);
  }
  if (Array.isArray(value)) return value.map(revive);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
}

function pack(key, value) {
  if (!ArrayBuffer.isView(value)) return value;
  const type = Object.keys(TYPES).find((name) => value instanceof TYPES[name]) ?? "uint8";
  return { $array: [type, Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64")] };
}

const results = [];
for (const { module, name, args } of jobs.calls) {
  const value = (await import(module))[name];
  try {
    results.push({ value: typeof value === "function" ? value(...args.map(revive)) : Object.keys(value) });
  } catch (error) {
    results.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(results, pack));
