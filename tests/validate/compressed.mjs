// Compressed meshes against their plain twins, through a decoder that is not ours.
//
//   MESHKILN_TOOLS=DIR node compressed.mjs FOLDER
//
// For each NAME-compressed.glb under FOLDER, decodes EXT_meshopt_compression with
// meshoptimizer's own decoder, undoes the quantisation, and compares every node with
// that of NAME.glb. Prints one JSON object a file; exits 1 when one differs by more
// than is promised, or when there is no file at all.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const { MeshoptDecoder } = createRequire(resolve(process.env.MESHKILN_TOOLS, "package.json"))("meshoptimizer");
await MeshoptDecoder.ready;

const COMPRESSION = "EXT_meshopt_compression";
const WIDTHS = { SCALAR: 1, VEC2: 2, VEC3: 3 };
const ARRAYS = { 5122: Int16Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array };
const STEPS = { 5122: 32767, 5123: 65535 };

function open(path) {
  const bytes = readFileSync(path);
  const length = bytes.readUInt32LE(12);
  return { json: JSON.parse(bytes.subarray(20, 20 + length)), bin: bytes.subarray(28 + length) };
}

/** Bytes of a buffer view and their stride, which is 0 when packed without gaps. */
function view({ json, bin }, index) {
  const plain = json.bufferViews[index];
  const packed = plain.extensions?.[COMPRESSION];
  if (!packed) {
    return [bin.subarray(plain.byteOffset ?? 0, (plain.byteOffset ?? 0) + plain.byteLength), plain.byteStride ?? 0];
  }
  const unpacked = new Uint8Array(packed.count * packed.byteStride);
  const source = bin.subarray(packed.byteOffset ?? 0, (packed.byteOffset ?? 0) + packed.byteLength);
  MeshoptDecoder.decodeGltfBuffer(unpacked, packed.count, packed.byteStride, source, packed.mode, packed.filter);
  return [unpacked, packed.byteStride];
}

/** One array of numbers for each element. */
function elements(file, index) {
  const accessor = file.json.accessors[index];
  const [bytes, stride] = view(file, accessor.bufferView);
  const [width, Kind] = [WIDTHS[accessor.type], ARRAYS[accessor.componentType]];
  const step = stride || width * Kind.BYTES_PER_ELEMENT;
  return Array.from({ length: accessor.count }, (_, i) => {
    const at = i * step;
    const numbers = Array.from(new Kind(Uint8Array.from(bytes.subarray(at, at + width * Kind.BYTES_PER_ELEMENT)).buffer));
    return accessor.normalized ? numbers.map((v) => v / STEPS[accessor.componentType]) : numbers;
  });
}

function mesh(file, node) {
  const { attributes, indices } = file.json.meshes[node.mesh].primitives[0];
  const [scale, move] = [node.scale ?? [1, 1, 1], node.translation ?? [0, 0, 0]];
  const turned = ([a, b, c]) => [[a, b, c], [b, c, a], [c, a, b]].sort((p, q) => p[0] - q[0])[0].join(" ");
  const corners = elements(file, indices).map(([v]) => v);
  return {
    positions: elements(file, attributes.POSITION).map((p) => p.map((v, i) => v * scale[i] + move[i])),
    normals: "NORMAL" in attributes ? elements(file, attributes.NORMAL) : [],
    uvs: "TEXCOORD_0" in attributes ? elements(file, attributes.TEXCOORD_0) : [],
    triangles: Array.from({ length: corners.length / 3 }, (_, i) => turned(corners.slice(3 * i, 3 * i + 3))),
  };
}

const largest = (a, b) => Math.max(0, ...a.map((p, i) => Math.max(...p.map((v, k) => Math.abs(v - b[i][k])))));

let n_files = 0;
for (const name of readdirSync(process.argv[2], { recursive: true }).sort()) {
  if (!name.endsWith("-compressed.glb")) continue;
  const path = join(process.argv[2], name);
  const twin = path.replace("-compressed.glb", ".glb");
  const line = { tool: "meshoptimizer", file: path, passed: false };
  if (existsSync(twin)) {
    const [packed, plain] = [open(path), open(twin)];
    line.nodes = packed.json.nodes.length;
    const pairs = packed.json.nodes.map((node, i) => [mesh(packed, node), mesh(plain, plain.json.nodes[i])]);
    const size = ({ positions }) => Math.max(...[0, 1, 2].map((k) => Math.max(...positions.map((p) => p[k])) - Math.min(...positions.map((p) => p[k]))));
    line.position = Math.max(...pairs.map(([a, b]) => largest(a.positions, b.positions) / size(b)));
    line.normal = Math.max(...pairs.map(([a, b]) => largest(a.normals, b.normals)));
    line.uv = Math.max(...pairs.map(([a, b]) => largest(a.uvs, b.uvs)));
    line.triangles = pairs.every(([a, b]) => a.triangles.join() === b.triangles.join());
    line.passed = line.position < 1e-4 && line.normal < 5e-3 && line.uv < 1e-4 && line.triangles;
  }
  n_files += 1;
  console.log(JSON.stringify(line));
  if (!line.passed) process.exitCode = 1;
}
if (n_files === 0) {
  console.error(`no -compressed.glb under ${process.argv[2]}`);
  process.exitCode = 1;
}
