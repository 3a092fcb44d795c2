// Shows one GLB in a canvas with WebGL 2. No library, no network: the file is in the page, as base64.
"use strict";

const COMPONENT = {
  5120: Int8Array, 5121: Uint8Array, 5122: Int16Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array,
};
const WIDTH = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4, MAT4: 16 };

const VERTEX = `#version 300 es
uniform mat4 clip, model;
in vec3 position, normal; in vec2 uv; in vec4 tangent; in vec3 color;
out vec3 at, facing; out vec2 where; out vec4 along; out vec3 tint;
void main() {
  vec4 world = model * vec4(position, 1.0);
  at = world.xyz; facing = mat3(model) * normal; where = uv; tint = color;
  along = vec4(mat3(model) * tangent.xyz, tangent.w);
  gl_Position = clip * world;
}`;

// Two lights that move with the eye, so that every side can be judged; no tone mapping.
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D baseColor, normalMap;
uniform vec4 factor; uniform vec3 eye, right, up; uniform bool textured, bumpy; uniform int mode;
in vec3 at, facing; in vec2 where; in vec4 along; in vec3 tint;
out vec4 result;
vec3 linear(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
vec3 display(vec3 c) { return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c)); }
void main() {
  vec3 n = length(facing) > 0.1 ? normalize(facing) : normalize(cross(dFdx(at), dFdy(at)));
  if (bumpy && length(along.xyz) > 0.1) {
    vec3 t = normalize(along.xyz - n * dot(n, along.xyz)), m = texture(normalMap, where).xyz * 2.0 - 1.0;
    n = normalize(m.x * t + m.y * along.w * cross(n, t) + m.z * n);
  }
  vec3 view = normalize(eye - at), base = display(factor.rgb * linear(tint));
  if (textured) base = display(factor.rgb * linear(tint) * linear(texture(baseColor, where).rgb));
  if (mode == 2) { result = vec4(n * 0.5 + 0.5, 1.0); return; }
  if (mode == 1) { result = vec4(base, 1.0); return; }
  vec3 key = normalize(view + 0.6 * up - 0.5 * right), fill = normalize(view - 0.3 * up + 0.9 * right);
  float light = 0.30 + 0.75 * max(dot(n, key), 0.0) + 0.22 * max(dot(n, fill), 0.0);
  result = vec4(display(clamp((mode == 3 ? vec3(0.55) : linear(base)) * light, 0.0, 1.0)), 1.0);
}`;

function readGlb(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== 0x46546c67) throw new Error("not a GLB file");
  const length = view.getUint32(12, true);
  const json = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length)));
  return { json, binary: bytes.subarray(28 + length) };
}

function section(glb, index) {
  const { byteOffset = 0, byteLength } = glb.json.bufferViews[index];
  return glb.binary.subarray(byteOffset, byteOffset + byteLength);
}

function accessor(glb, index) {
  const { bufferView, byteOffset = 0, componentType, count, type, normalized } = glb.json.accessors[index];
  const Kind = COMPONENT[componentType], width = WIDTH[type], size = Kind.BYTES_PER_ELEMENT;
  const stride = glb.json.bufferViews[bufferView].byteStride || width * size;
  const source = section(glb, bufferView), out = new Kind(count * width), raw = new Uint8Array(out.buffer);
  for (let i = 0; i < count; i++) {
    raw.set(source.subarray(byteOffset + i * stride, byteOffset + i * stride + width * size), i * width * size);
  }
  const most = Kind === Float32Array ? 1 : 2 ** (8 * size) - 1;
  return { width, data: out, values: normalized ? Float32Array.from(out, (x) => x / most) : out };
}

function multiply(a, b) {
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) {
    out[c * 4 + r] += a[k * 4 + r] * b[c * 4 + k];
  }
  return out;
}

function placement(node) {
  if (node.matrix) return new Float32Array(node.matrix);
  const [x, y, z, w] = node.rotation || [0, 0, 0, 1], [a, b, c] = node.scale || [1, 1, 1];
  const [e, f, g] = node.translation || [0, 0, 0];
  return new Float32Array([
    a * (1 - 2 * (y * y + z * z)), a * 2 * (x * y + z * w), a * 2 * (x * z - y * w), 0,
    b * 2 * (x * y - z * w), b * (1 - 2 * (x * x + z * z)), b * 2 * (y * z + x * w), 0,
    c * 2 * (x * z + y * w), c * 2 * (y * z - x * w), c * (1 - 2 * (x * x + y * y)), 0, e, f, g, 1,
  ]);
}

function primitives(glb) {
  const found = [];
  const visit = (index, parent) => {
    const node = glb.json.nodes[index], model = multiply(parent, placement(node));
    if (node.mesh !== undefined) for (const part of glb.json.meshes[node.mesh].primitives) found.push({ part, model });
    for (const child of node.children || []) visit(child, model);
  };
  for (const root of glb.json.scenes[glb.json.scene || 0].nodes) visit(root, placement({}));
  return found;
}

async function texture(gl, glb, info) {
  if (!info) return null;
  const image = glb.json.images[glb.json.textures[info.index].source];
  const blob = new Blob([section(glb, image.bufferView)], { type: image.mimeType });
  const pixels = new Image(), made = gl.createTexture();
  pixels.src = URL.createObjectURL(blob);
  await pixels.decode();
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, made);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  URL.revokeObjectURL(pixels.src);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  return made;
}

function compile(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

async function upload(gl, program, glb, { part, model }) {
  const names = { position: "POSITION", normal: "NORMAL", uv: "TEXCOORD_0", tangent: "TANGENT", color: "COLOR_0" };
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  for (const [name, key] of Object.entries(names)) {
    const slot = gl.getAttribLocation(program, name);
    if (slot < 0) continue;
    if (part.attributes[key] === undefined) { gl.vertexAttrib4f(slot, ...(name === "color" ? [1, 1, 1, 1] : [0, 0, 0, 1])); continue; }
    const { width, values } = accessor(glb, part.attributes[key]);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, Float32Array.from(values), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, width, gl.FLOAT, false, 0, 0);
  }
  const bounds = glb.json.accessors[part.attributes.POSITION];
  const indices = part.indices === undefined ? Uint32Array.from({ length: bounds.count }, (_, i) => i)
    : Uint32Array.from(accessor(glb, part.indices).data);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
  const material = (glb.json.materials || [])[part.material] || {}, metal = material.pbrMetallicRoughness || {};
  return {
    array, model, bounds, count: indices.length, factor: metal.baseColorFactor || [1, 1, 1, 1],
    base: await texture(gl, glb, metal.baseColorTexture), bumps: await texture(gl, glb, material.normalTexture),
  };
}

function extent(parts) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (const { bounds, model } of parts) for (let corner = 0; corner < 8; corner++) {
    const p = [0, 1, 2].map((axis) => (corner >> axis & 1 ? bounds.max : bounds.min)[axis]);
    for (let r = 0; r < 3; r++) {
      const x = model[r] * p[0] + model[4 + r] * p[1] + model[8 + r] * p[2] + model[12 + r];
      low[r] = Math.min(low[r], x); high[r] = Math.max(high[r], x);
    }
  }
  return { center: low.map((x, i) => (x + high[i]) / 2), radius: Math.hypot(...low.map((x, i) => high[i] - x)) / 2 || 1 };
}

function lens(state, { center, radius }, aspect) {
  const a = state.azimuth * Math.PI / 180, e = state.elevation * Math.PI / 180, half = Math.tan(Math.PI / 12);
  const back = [Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)];
  const right = [Math.cos(a), 0, -Math.sin(a)];
  const up = [-Math.sin(a) * Math.sin(e), Math.cos(e), -Math.cos(a) * Math.sin(e)];
  const distance = radius * state.zoom / Math.sin(Math.PI / 12) / Math.min(1, aspect);
  const eye = center.map((x, i) => x + back[i] * distance), axes = [right, up, back];
  const world = new Float32Array(16);
  axes.forEach((axis, r) => {
    for (let c = 0; c < 3; c++) world[c * 4 + r] = axis[c];
    world[12 + r] = -axis.reduce((sum, x, i) => sum + x * eye[i], 0);
  });
  world[15] = 1;
  const near = Math.max(distance - 1.1 * radius, radius / 100), far = distance + 1.1 * radius;
  const project = new Float32Array([1 / half / aspect, 0, 0, 0, 0, 1 / half, 0, 0, 0, 0,
    (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0]);
  return { clip: multiply(project, world), eye, right, up };
}

function draw(gl, program, parts, view, mode) {
  const at = (name) => gl.getUniformLocation(program, name);
  gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.uniformMatrix4fv(at("clip"), false, view.clip);
  for (const name of ["eye", "right", "up"]) gl.uniform3fv(at(name), view[name]);
  gl.uniform1i(at("mode"), mode);
  gl.uniform1i(at("baseColor"), 0);
  gl.uniform1i(at("normalMap"), 1);
  for (const part of parts) {
    gl.bindVertexArray(part.array);
    gl.uniformMatrix4fv(at("model"), false, part.model);
    gl.uniform4fv(at("factor"), part.factor);
    gl.uniform1i(at("textured"), part.base ? 1 : 0);
    gl.uniform1i(at("bumpy"), part.bumps ? 1 : 0);
    gl.activeTexture(gl.TEXTURE0); gl.bindTexture(gl.TEXTURE_2D, part.base);
    gl.activeTexture(gl.TEXTURE1); gl.bindTexture(gl.TEXTURE_2D, part.bumps);
    gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0);
  }
}

function listen(canvas, state, changed) {
  const still = () => { state.turning = false; changed(); };
  const turn = (x, y) => {
    state.azimuth -= x; state.elevation = Math.max(-89, Math.min(89, state.elevation + y)); still();
  };
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); state.held = true; still(); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { state.held = false; });
  canvas.addEventListener("pointermove", (e) => { if (state.held) turn(e.movementX * 0.4, e.movementY * 0.4); });
  // The wheel scrolls the page until the model is clicked.
  canvas.addEventListener("wheel", (e) => {
    if (document.activeElement !== canvas) return;
    e.preventDefault();
    state.zoom = Math.max(0.2, Math.min(4, state.zoom * Math.exp(e.deltaY * 0.001))); still();
  }, { passive: false });
  const keys = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
  canvas.addEventListener("keydown", (e) => {
    if (keys[e.key]) { e.preventDefault(); turn(...keys[e.key]); }
    if (e.key === "+" || e.key === "-") { state.zoom *= e.key === "+" ? 0.9 : 1.1; still(); }
    if (e.key === " ") { e.preventDefault(); state.turning = !state.turning; changed(); }
  });
  for (const input of document.querySelectorAll("input[name=shading]")) {
    input.addEventListener("change", () => { state.mode = Number(input.value); changed(); });
  }
  new ResizeObserver(changed).observe(canvas);
}

async function show(canvas, base64) {
  const gl = canvas.getContext("webgl2", { antialias: true });
  if (!gl) throw new Error("this browser has no WebGL 2");
  const glb = readGlb(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  const program = compile(gl), parts = [];
  for (const found of primitives(glb)) parts.push(await upload(gl, program, glb, found));
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches, size = extent(parts);
  const state = { azimuth: 30, elevation: 15, zoom: 1, mode: 0, turning: !still, held: false, waiting: false, last: 0 };
  const frame = (now) => {
    state.waiting = false;
    if (state.turning) state.azimuth -= Math.min(now - state.last, 50) * 0.018;
    state.last = now;
    const ratio = Math.min(devicePixelRatio || 1, 2), box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * ratio)); canvas.height = Math.max(1, Math.round(box.height * ratio));
    draw(gl, program, parts, lens(state, size, canvas.width / canvas.height), state.mode);
    canvas.dataset.state = "ready";
    if (state.turning) changed();
  };
  const changed = () => { if (!state.waiting) { state.waiting = true; requestAnimationFrame(frame); } };
  listen(canvas, state, changed);
  changed();
}

addEventListener("DOMContentLoaded", () => {
  const film = document.querySelector("video");
  if (film && !matchMedia("(prefers-reduced-motion: reduce)").matches) film.play().catch(() => { film.controls = true; });
  const canvas = document.getElementById("model"), data = document.getElementById("asset");
  if (!canvas || !data) return;
  show(canvas, data.textContent.trim()).catch((error) => {
    canvas.dataset.state = "failed";
    canvas.hidden = true;
    document.querySelector(".no-model").hidden = false;
    document.querySelector(".no-model .why").textContent = error.message;
  });
});
