#pragma once
// Antialiasing by edge discontinuities (Laine et al. 2020, section 3.5). Where two neighbouring pixels show different
// faces, the silhouette between their centres is sought by walking over the mesh, from the centre of one pixel towards
// the other, so that silhouettes of faces too small to own a pixel are found too. The silhouette's distance from the
// first centre says how much of one pixel the other covers. Steep edges blend horizontal pairs, flat ones vertical.
#include "rasterize_math.h"

namespace asset3d::triangle {
constexpr int kMaxSteps = 64;  // faces walked over between two neighbouring pixels

// Which side of a face the image shows: the sign of the determinant of its corners.
template <typename T>
A3D_FN int8_t facing_of(const Triangle<T>& t) {
  const Corner<T>& o = t.corner[0];  // seen from a corner, so that small faces keep their digits
  const T px = o.w != 0 ? o.x / o.w : T(0), py = o.w != 0 ? o.y / o.w : T(0);
  const Edges<T> g = edges_at(t, px, py);
  return g.w < 0 ? -1 : 1;
}

// A pair of neighbouring pixels, as seen from the one where the walk starts.
template <typename T>
struct Walk {
  T px, py;       // centre of the first pixel
  bool vertical;  // the pair is one above the other
  T scale;        // signed pixels per unit of normalized device coordinates, positive towards the second pixel
};

template <typename T>
A3D_FN Walk<T> make_walk(const ImageSize& size, int x, int y, bool vertical, bool reversed) {
  if (reversed) vertical ? ++y : ++x;
  const T half = T(0.5) * T(vertical ? size.height : size.width);
  return {pixel_center<T>(x, size.width), pixel_center<T>(y, size.height), vertical, reversed ? -half : half};
}

// A corner as the walk sees it: along the pair, across it, and w.
template <typename T> struct Seen { T along, across, w; };

template <typename T>
A3D_FN Seen<T> seen(const Walk<T>& walk, const T* p) {
  const T x = fused(-walk.px, p[3], p[0]), y = fused(-walk.py, p[3], p[1]);
  return walk.vertical ? Seen<T>{y, x, p[3]} : Seen<T>{x, y, p[3]};
}

// Distance in pixels from the first centre to where the line between the centres meets edge pq.
template <typename T>
A3D_FN T crossing_distance(const Walk<T>& walk, const Seen<T>& p, const Seen<T>& q) {
  return walk.scale * difference_of_products(p.along, q.across, q.along, p.across) /
         difference_of_products(p.w, q.across, q.w, p.across);
}

// Is the crossing in front of the camera? p and q lie on different sides of the line.
template <typename T>
A3D_FN bool in_front(const Seen<T>& p, const Seen<T>& q) {
  return (difference_of_products(p.w, q.across, q.w, p.across) > 0) == (q.across > p.across);
}

// Does the edge run across the pair rather than along it, in pixels? True for exactly one of the two directions.
template <typename T>
A3D_FN bool runs_across(const Walk<T>& walk, const ImageSize& size, const Seen<T>& p, const Seen<T>& q) {
  const T along = difference_of_products(p.across, q.w, q.across, p.w);   // normal of the edge's line
  const T across = difference_of_products(q.along, p.w, p.along, q.w);
  const T a = std::fabs(along) * T(walk.vertical ? size.width : size.height);
  const T b = std::fabs(across) * T(walk.vertical ? size.height : size.width);
  return walk.vertical ? a > b : a >= b;
}

// The half-edge on the other side of half-edge `edge`, or -1 when all faces at this edge lie on the side of its own
// face, as the image shows them: then the edge is a silhouette.
template <typename T>
A3D_FN int64_t other_side(const AntialiasArgs<T>& a, const int8_t* facing, int64_t edge) {
  const int64_t face = edge / 3;
  const int32_t from = a.faces[edge];
  const int limit = 64;  // faces at one edge
  int64_t next = a.topology[edge];
  for (int i = 0; i < limit && next != edge; ++i, next = a.topology[next]) {
    const bool same_direction = a.faces[next] == from;
    const bool same_facing = facing[next / 3] == facing[face];
    if (same_direction != same_facing) return next;
  }
  return -1;
}

// The half-edge of the silhouette that is met on the way, or -1.
template <typename T>
A3D_FN int64_t find_silhouette(const AntialiasArgs<T>& a, int64_t batch, const Walk<T>& walk, int64_t start,
                               int64_t goal) {
  const T* positions = a.positions + batch * a.n_vertices * 4;
  const int8_t* facing = a.facing + batch * a.n_faces;
  int64_t face = start;
  int entry = -1;
  for (int step = 0; step < kMaxSteps; ++step) {
    Seen<T> corner[3];
    for (int i = 0; i < 3; ++i) corner[i] = seen(walk, positions + int64_t(a.faces[3 * face + i]) * 4);
    int exit = -1;
    T distance = 0;
    for (int i = 0; i < 3; ++i) {
      const Seen<T>&p = corner[i], &q = corner[(i + 1) % 3];
      if (i == entry || (p.across >= 0) == (q.across >= 0)) continue;
      const T d = crossing_distance(walk, p, q);
      if (exit < 0 || d > distance) {
        exit = i;
        distance = d;
      }
    }
    if (exit < 0 || !(distance <= 1)) return -1;
    const Seen<T>&p = corner[exit], &q = corner[(exit + 1) % 3];
    if (!in_front(p, q)) return -1;
    const int64_t next = other_side(a, facing, 3 * face + exit);
    if (next < 0) return runs_across(walk, a.size, p, q) && distance >= 0 ? 3 * face + exit : -1;
    face = next / 3;
    entry = int(next % 3);
    if (face == goal) return -1;  // one surface connects the two pixels
  }
  return -1;
}

// The silhouette between pixel (x, y) and its right or lower neighbour: 0 for none, else 1 + 2 * half-edge, + 1 when
// the walk starts at the neighbour.
template <typename T>
A3D_FN int32_t analyze_pair(const AntialiasArgs<T>& a, int64_t pixel, int x, int y, bool vertical) {
  if (vertical ? y + 1 >= a.size.height : x + 1 >= a.size.width) return 0;
  const int64_t neighbour = pixel + (vertical ? a.size.width : 1);
  const T *here = a.rast + pixel * 4, *there = a.rast + neighbour * 4;
  if (here[3] == there[3]) return 0;
  const int64_t batch = pixel / (int64_t(a.size.width) * a.size.height);
  const int64_t face[2] = {face_of(here, a.n_faces), face_of(there, a.n_faces)};
  const int nearer = face[0] < 0 || (face[1] >= 0 && there[2] < here[2]);
  for (int attempt = 0; attempt < 2; ++attempt) {  // a slanted surface can be nearer and yet be the one occluded
    const int first = attempt == 0 ? nearer : 1 - nearer;
    if (face[first] < 0) return 0;
    const Walk<T> walk = make_walk<T>(a.size, x, y, vertical, first == 1);
    const int64_t edge = find_silhouette(a, batch, walk, face[first], face[1 - first]);
    if (edge >= 0) return int32_t(1 + 2 * edge + first);
  }
  return 0;
}

template <typename T>
A3D_FN void analyze_pixel(const AntialiasArgs<T>& a, int64_t pixel) {
  const int x = int(pixel % a.size.width), y = int(pixel / a.size.width % a.size.height);
  a.crossings[2 * pixel] = analyze_pair(a, pixel, x, y, false);
  a.crossings[2 * pixel + 1] = analyze_pair(a, pixel, x, y, true);
}

// How a silhouette blends its pair: color[target] += weight * (color[source] - color[target]).
template <typename T>
struct Blend {
  int64_t target, source;
  T weight;
  bool target_is_second;
};

// The stored crossing of a pair; 0 too where there is no such neighbour or face.
template <typename T>
A3D_FN int32_t crossing_of(const AntialiasArgs<T>& a, int64_t pixel, int x, int y, bool vertical) {
  if (vertical ? y + 1 >= a.size.height : x + 1 >= a.size.width) return 0;
  const int32_t crossing = a.crossings[2 * pixel + vertical];
  return crossing > 0 && crossing <= 6 * a.n_faces ? crossing : 0;
}

template <typename T>
A3D_FN void edge_corners(const AntialiasArgs<T>& a, int64_t batch, int64_t edge, int64_t index[2]) {
  const int64_t face = edge / 3, i = edge % 3;
  index[0] = (batch * a.n_vertices + a.faces[3 * face + i]) * 4;
  index[1] = (batch * a.n_vertices + a.faces[3 * face + (i + 1) % 3]) * 4;
}

template <typename T>
A3D_FN Blend<T> blend_of(const AntialiasArgs<T>& a, int64_t pixel, int x, int y, bool vertical, int32_t crossing) {
  const int64_t batch = pixel / (int64_t(a.size.width) * a.size.height);
  const bool reversed = (crossing - 1) & 1;
  const Walk<T> walk = make_walk<T>(a.size, x, y, vertical, reversed);
  const int64_t neighbour = pixel + (vertical ? a.size.width : 1);
  int64_t index[2];
  edge_corners(a, batch, (crossing - 1) >> 1, index);
  const T distance = crossing_distance(walk, seen(walk, a.positions + index[0]), seen(walk, a.positions + index[1]));
  const int64_t first = reversed ? neighbour : pixel, second = reversed ? pixel : neighbour;
  if (distance > T(0.5)) return {second, first, distance - T(0.5), true};
  return {first, second, T(0.5) - distance, false};
}

// Calls visit(blend) for the up to four silhouettes around a pixel.
template <typename T, typename Visit>
A3D_FN void for_each_blend(const AntialiasArgs<T>& a, int64_t pixel, Visit&& visit) {
  const int x = int(pixel % a.size.width), y = int(pixel / a.size.width % a.size.height);
  for (int k = 0; k < 4; ++k) {  // right, lower, left, upper neighbour
    const bool vertical = k & 1;
    const int left = k == 2 ? x - 1 : x, top = k == 3 ? y - 1 : y;
    if (left < 0 || top < 0) continue;
    const int64_t owner = pixel - (k == 2) - (k == 3 ? a.size.width : 0);
    const int32_t crossing = crossing_of(a, owner, left, top, vertical);
    if (crossing) visit(blend_of(a, owner, left, top, vertical, crossing));
  }
}

template <typename T>
A3D_FN void antialias_pixel(const AntialiasArgs<T>& a, int64_t pixel) {
  const int n = a.n_channels;
  for (int c = 0; c < n; ++c) a.out[pixel * n + c] = a.color[pixel * n + c];
  for_each_blend(a, pixel, [&](const Blend<T>& blend) {
    if (blend.target != pixel) return;
    const T *from = a.color + blend.source * n, *to = a.color + pixel * n;
    for (int c = 0; c < n; ++c) a.out[pixel * n + c] += blend.weight * (from[c] - to[c]);
  });
}

template <typename T>
A3D_FN void antialias_backward_color(const AntialiasArgs<T>& a, int64_t pixel) {
  const int n = a.n_channels;
  for (int c = 0; c < n; ++c) a.grad_color[pixel * n + c] = a.grad_out[pixel * n + c];
  for_each_blend(a, pixel, [&](const Blend<T>& blend) {
    const T weight = blend.target == pixel ? -blend.weight : blend.weight;
    for (int c = 0; c < n; ++c) a.grad_color[pixel * n + c] += weight * a.grad_out[blend.target * n + c];
  });
}

// add(index, value) receives the gradients of the two ends of the silhouette between a pixel and one neighbour.
template <typename T, typename Add>
A3D_FN void antialias_backward_pair(const AntialiasArgs<T>& a, int64_t pixel, bool vertical, Add&& add) {
  const int x = int(pixel % a.size.width), y = int(pixel / a.size.width % a.size.height);
  const int32_t crossing = crossing_of(a, pixel, x, y, vertical);
  if (!crossing) return;
  const Blend<T> blend = blend_of(a, pixel, x, y, vertical, crossing);
  const int n = a.n_channels;
  T grad = 0;  // of the distance: moving away from the first pixel shows more of its colour
  const int64_t first = blend.target_is_second ? blend.source : blend.target;
  const int64_t second = blend.target_is_second ? blend.target : blend.source;
  for (int c = 0; c < n; ++c)
    grad += a.grad_out[blend.target * n + c] * (a.color[first * n + c] - a.color[second * n + c]);

  const int64_t batch = pixel / (int64_t(a.size.width) * a.size.height);
  const Walk<T> walk = make_walk<T>(a.size, x, y, vertical, (crossing - 1) & 1);
  int64_t index[2];
  edge_corners(a, batch, (crossing - 1) >> 1, index);
  const Seen<T> p = seen(walk, a.positions + index[0]), q = seen(walk, a.positions + index[1]);
  const T over = difference_of_products(p.w, q.across, q.w, p.across);
  const T distance = walk.scale * difference_of_products(p.along, q.across, q.along, p.across) / over;
  const T up = grad * walk.scale / over, down = -grad * distance / over;  // of numerator and denominator
  const T along[2] = {up * q.across, -up * p.across};
  const T across[2] = {-up * q.along - down * q.w, up * p.along + down * p.w};
  const T w[2] = {down * q.across, -down * p.across};
  for (int i = 0; i < 2; ++i) {
    const T grad_x = vertical ? across[i] : along[i], grad_y = vertical ? along[i] : across[i];
    add(index[i], grad_x);
    add(index[i] + 1, grad_y);
    add(index[i] + 3, w[i] - walk.px * grad_x - walk.py * grad_y);
  }
}
}  // namespace asset3d::triangle
