// onnxruntime's matmul x [M, K] times a constant [K, N], which it packs beforehand: ort_peer.mjs M K N THREADS prints "gemm<TAB>GFLOP/s".
import { createRequire } from 'module';
const require = createRequire(process.env.PEERS + '/npm/package.json');
const ort = require('onnxruntime-node');
const [m, k, n, threads] = process.argv.slice(2).map(Number);

// The protobuf messages of a model with one node, by hand.
const varint = (v) => { const bytes = []; for (; v > 127; v = Math.floor(v / 128)) bytes.push((v & 127) | 128); return Buffer.from([...bytes, v]); };
const number = (field, v) => Buffer.concat([varint(field << 3), varint(v)]);
const bytes = (field, ...parts) => { const b = Buffer.concat(parts.map((p) => Buffer.from(p))); return Buffer.concat([varint((field << 3) | 2), varint(b.length), b]); };
const values = (count) => new Float32Array(count).map(() => Math.random() - 0.5);
const tensor = (name, shape) => Buffer.concat([bytes(1, name), bytes(2, bytes(1, number(1, 1), bytes(2, ...shape.map((d) => bytes(1, number(1, d))))))]);
const graph = Buffer.concat([
  bytes(1, bytes(1, 'x'), bytes(1, 'w'), bytes(2, 'y'), bytes(4, 'MatMul')), bytes(2, 'g'),
  bytes(5, number(1, k), number(1, n), number(2, 1), bytes(8, 'w'), bytes(9, Buffer.from(values(k * n).buffer))),
  bytes(11, tensor('x', [m, k])), bytes(12, tensor('y', [m, n]))]);
const model = Buffer.concat([number(1, 8), bytes(7, graph), bytes(8, number(2, 17))]);

const session = await ort.InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1, executionProviders: ['cpu'] });
const feed = { x: new ort.Tensor('float32', values(m * k), [m, k]) }, out = { y: new ort.Tensor('float32', new Float32Array(m * n), [m, n]) };
const rates = [];
for (let i = 0; i < 18; i++) {
  const start = process.hrtime.bigint();
  await session.run(feed, out);
  if (i > 2) rates.push(2 * m * k * n / Number(process.hrtime.bigint() - start));
}
console.log(`gemm\t${rates.sort((a, b) => a - b)[rates.length >> 1]}`);
