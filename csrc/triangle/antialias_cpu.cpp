// Antialiasing on the CPU: the analysis and both blends gather per pixel; silhouettes are few, so that the gradient
// of the positions is collected in bands and added in the order of the pixels.
#include "antialias_math.h"
#include "cpu_schedule.h"

namespace asset3d::triangle {
namespace {
template <typename T> struct Contribution { int64_t at; T value; };
}  // namespace

template <typename T>
void antialias_analyze_cpu(const AntialiasArgs<T>& a) {
  parallel_for(0, a.size.batch * a.n_faces, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* positions = a.positions + i / a.n_faces * a.n_vertices * 4;
      a.facing[i] = facing_of(load_triangle(positions, a.faces, i % a.n_faces));
    }
  });
  for_each_job(a.size.batch * a.size.height, [&](int64_t row) {
    for (int64_t i = row * a.size.width; i < (row + 1) * a.size.width; ++i) analyze_pixel(a, i);
  });
}

template <typename T>
void antialias_cpu(const AntialiasArgs<T>& a) {
  for_each_row(a.size, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) antialias_pixel(a, i);
  });
}

template <typename T>
void antialias_backward_cpu(const AntialiasArgs<T>& a) {
  const int64_t bands = std::min<int64_t>(a.size.pixels(), 16);
  std::vector<std::vector<Contribution<T>>> found(bands);
  for_each_job(bands, [&](int64_t band) {
    for (int64_t i = a.size.pixels() * band / bands; i < a.size.pixels() * (band + 1) / bands; ++i) {
      antialias_backward_color(a, i);
      for (bool vertical : {false, true})
        antialias_backward_pair(a, i, vertical, [&](int64_t at, T value) { found[band].push_back({at, value}); });
    }
  });
  for (const auto& band : found)
    for (const Contribution<T>& c : band) a.grad_positions[c.at] += c.value;
}

// Half-edges are sorted by their smaller vertex, and those of one vertex by the larger one; both keep their order.
void face_topology_cpu(const int32_t* faces, int64_t n_faces, int64_t n_vertices, int32_t* topology) {
  struct HalfEdge { int32_t larger, index; };
  const auto ends = [&](int64_t edge) {
    const int32_t p = faces[edge], q = faces[edge % 3 == 2 ? edge - 2 : edge + 1];
    return std::pair{std::min(p, q), std::max(p, q)};
  };
  std::vector<int64_t> first(n_vertices + 1, 0);
  for (int64_t e = 0; e < 3 * n_faces; ++e) ++first[ends(e).first + 1];
  for (int64_t v = 0; v < n_vertices; ++v) first[v + 1] += first[v];
  std::vector<int64_t> cursor(first.begin(), first.end() - 1);
  std::vector<HalfEdge> sorted(3 * n_faces);
  for (int64_t e = 0; e < 3 * n_faces; ++e) {
    const auto [smaller, larger] = ends(e);
    sorted[cursor[smaller]++] = {larger, int32_t(e)};
  }
  parallel_for(0, n_vertices, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      HalfEdge *from = sorted.data() + first[v], *to = sorted.data() + first[v + 1];
      std::sort(from, to, [](const HalfEdge& p, const HalfEdge& q) {
        return p.larger != q.larger ? p.larger < q.larger : p.index < q.index;
      });
      for (HalfEdge* group = from; group < to;) {
        HalfEdge* last = group;
        for (; last + 1 < to && last[1].larger == group->larger; ++last) topology[last->index] = last[1].index;
        topology[last->index] = group->index;
        group = last + 1;
      }
    }
  });
}

template void antialias_analyze_cpu(const AntialiasArgs<float>&);
template void antialias_analyze_cpu(const AntialiasArgs<double>&);
template void antialias_cpu(const AntialiasArgs<float>&);
template void antialias_cpu(const AntialiasArgs<double>&);
template void antialias_backward_cpu(const AntialiasArgs<float>&);
template void antialias_backward_cpu(const AntialiasArgs<double>&);
}  // namespace asset3d::triangle
