// The reference MikkTSpace: float32 positions, normals, uvs of an unindexed mesh on stdin, tangents on stdout.
const { generateTangents } = require("mikktspace");
const input = require("fs").readFileSync(0);
const floats = new Float32Array(input.buffer.slice(input.byteOffset, input.byteOffset + input.byteLength));
const n = floats.length / 8;
const tangents = generateTangents(floats.slice(0, 3 * n), floats.slice(3 * n, 6 * n), floats.slice(6 * n));
process.stdout.write(Buffer.from(tangents.buffer, tangents.byteOffset, tangents.byteLength));
