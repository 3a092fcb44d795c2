// Marching tetrahedra: schemas, checks, outputs, device choice. The only file of this folder that knows torch tensors.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "marching_tets.h"

namespace asset3d::marching_tets {
namespace {
using torch::headeronly::ScalarType;
using torch::stable::new_empty;
using torch::stable::new_zeros;
using torch::stable::Tensor;
using Numbers = std::vector<double>;
using Mesh = std::tuple<Tensor, Tensor, Tensor>;  // vertices, faces, crossed

constexpr int64_t kMaxIndex = std::numeric_limits<int32_t>::max();

bool is_table(const Tensor& t, int64_t columns) {
  return t.is_contiguous() && t.dim() == 2 && t.size(1) == columns && t.scalar_type() == ScalarType::Int;
}
int64_t words_of(int64_t n) { return (n + 31) / 32; }

// The tensors behind Found, and the step between the two passes. A zero before the counts shifts their sums by one.
struct Passes {
  Tensor marks, counts, sums;

  Passes(const Tensor& like, int64_t n_marks, int64_t n_words)
      : marks(new_zeros(like, {n_marks}, ScalarType::Int)),
        counts(new_zeros(like, {1 + kRows * n_words}, ScalarType::Int)) {}

  Found found() {
    return {counts.mutable_data_ptr<int32_t>() + 1, nullptr, counts.numel() / kRows, {0, 0, 0}};
  }
  uint32_t* mark_words() { return reinterpret_cast<uint32_t*>(marks.mutable_data_ptr<int32_t>()); }

  // Waits for the device: the sizes of the outputs are data.
  void sum(Found& found) {
    const int64_t n = found.n_words;
    if (n == 0) return;
    sums = cumulative_sum(counts);
    found.sums = sums.const_data_ptr<int64_t>();
    int64_t last[kRows];
    last_of_rows(torch::stable::narrow(sums, 0, 1, kRows * n), kRows, n, last);
    for (int r = 0; r < kRows; ++r) found.totals[r] = last[r] - (r ? last[r - 1] : 0);
    STD_TORCH_CHECK(found.totals[kCrossings] <= kMaxIndex, "marching_tets: more than 2^31 - 1 surface vertices");
  }
};

template <typename T>
Mesh allocate(const Tensor& sdf, const Found& found, Surface<T>& surface) {
  Tensor vertices = new_empty(sdf, {found.totals[kCrossings], 3});
  Tensor faces = new_empty(sdf, {found.totals[kSingles] + 2 * found.totals[kDoubles], 3}, ScalarType::Long);
  Tensor crossed = new_empty(sdf, {found.totals[kCrossings], 2}, ScalarType::Int);
  surface = {vertices.mutable_data_ptr<T>(), crossed.mutable_data_ptr<int32_t>(), faces.mutable_data_ptr<int64_t>()};
  return {vertices, faces, crossed};
}

// The messages a user reads come from asset3d/ops/marching_tets.py; these only keep memory safe.
template <typename T>
Args<T> make_args(const Tensor& sdf, const Tensor& vertices, const Tensor& tets, const Tensor& edges,
                  const Tensor& tet_edges, const Tensor& cover_first, const Tensor& cover) {
  STD_TORCH_CHECK(sdf.is_contiguous() && sdf.dim() == 1, "sdf must be contiguous (V)");
  STD_TORCH_CHECK(vertices.is_contiguous() && vertices.numel() == 3 * sdf.numel(),
                  "vertices must be contiguous (V, 3)");
  STD_TORCH_CHECK(
      is_table(tets, 4) && is_table(edges, 2) && is_table(tet_edges, 6) && tet_edges.size(0) == tets.size(0),
      "tets (T, 4), edges (E, 2) and tet_edges (T, 6) must be contiguous int32");
  STD_TORCH_CHECK(is_table(cover, 2) && cover_first.is_contiguous() && cover_first.scalar_type() == ScalarType::Int &&
                  cover_first.numel() == words_of(tets.size(0)) + 1, "cover does not belong to tets");
  refuse_non_finite<T>("marching_tets", "sdf", sdf);
  Args<T> args{};
  args.sdf = sdf.const_data_ptr<T>();
  args.vertices = vertices.const_data_ptr<T>();
  args.tets = tets.const_data_ptr<int32_t>();
  args.edges = edges.const_data_ptr<int32_t>();
  args.tet_edges = tet_edges.const_data_ptr<int32_t>();
  args.cover_first = cover_first.const_data_ptr<int32_t>();
  args.cover = reinterpret_cast<const uint32_t*>(cover.const_data_ptr<int32_t>());
  args.n_vertices = sdf.size(0);
  args.n_tets = tets.size(0);
  args.n_edges = edges.size(0);
  return args;
}

Mesh marching_tets(
    const Tensor& sdf, const Tensor& vertices, const Tensor& tets, const Tensor& edges, const Tensor& tet_edges,
    const Tensor& cover_first, const Tensor& cover) {
  Mesh mesh;
  Tensor inside = new_empty(sdf, {words_of(sdf.numel())}, ScalarType::Int);
  for_float_dtype(sdf, [&]<typename T>(T) {
    Args<T> args = make_args<T>(sdf, vertices, tets, edges, tet_edges, cover_first, cover);
    const int64_t n_words = words_of(std::max(args.n_tets, args.n_edges));
    Passes passes(sdf, kRows * n_words, n_words);
    args.inside = reinterpret_cast<uint32_t*>(inside.mutable_data_ptr<int32_t>());
    args.marks = passes.mark_words();
    args.found = passes.found();
    [&] { A3D_ON_DEVICE(sdf, mark, args); }();
    passes.sum(args.found);
    mesh = allocate<T>(sdf, args.found, args.surface);
    A3D_ON_DEVICE(sdf, emit, args);
  });
  return mesh;
}

template <typename T>
void set_grid(const Numbers& lower, const Numbers& upper, const int64_t size[3], T out_lower[3], T spacing[3]) {
  STD_TORCH_CHECK(lower.size() == 3 && upper.size() == 3, "lower and upper must have 3 values");
  for (int d = 0; d < 3; ++d) {
    out_lower[d] = T(lower[d]);
    spacing[d] = T((upper[d] - lower[d]) / double(std::max<int64_t>(size[d] - 1, 1)));
  }
}

Mesh marching_tets_dense(const Tensor& sdf, Numbers lower, Numbers upper) {
  STD_TORCH_CHECK(sdf.is_contiguous() && sdf.dim() == 3 && sdf.numel() <= kMaxIndex,
                  "sdf must be contiguous (X, Y, Z) with at most 2^31 - 1 values");
  Mesh mesh;
  for_float_dtype(sdf, [&]<typename T>(T) {
    refuse_non_finite<T>("marching_tets_dense", "sdf", sdf);
    DenseArgs<T> args{};
    args.sdf = sdf.const_data_ptr<T>();
    for (int d = 0; d < 3; ++d) args.size[d] = sdf.size(d);
    set_grid(lower, upper, args.size, args.lower, args.spacing);
    args.row_words = words_of(args.size[2]);
    const int64_t n_words = args.size[0] * args.size[1] * args.row_words;
    Passes passes(sdf, 8 * n_words, n_words);
    args.marks = passes.mark_words();
    args.found = passes.found();
    [&] { A3D_ON_DEVICE(sdf, mark_dense, args); }();
    passes.sum(args.found);
    mesh = allocate<T>(sdf, args.found, args.surface);
    A3D_ON_DEVICE(sdf, emit_dense, args);
  });
  return mesh;
}

template <typename T>
BackwardArgs<T> make_backward(const Tensor& grad, const Tensor& crossed, const Tensor& sdf, Tensor& grad_sdf) {
  STD_TORCH_CHECK(is_table(crossed, 2) && grad.is_contiguous() && grad.numel() == 3 * crossed.size(0) &&
                  sdf.is_contiguous(), "gradients of marching_tets must be contiguous (M, 3)");
  BackwardArgs<T> args{};
  args.grad_surface = grad.const_data_ptr<T>();
  args.crossed = crossed.const_data_ptr<int32_t>();
  args.sdf = sdf.const_data_ptr<T>();
  args.n_surface = crossed.size(0);
  args.n_vertices = sdf.numel();
  args.grad_sdf = grad_sdf.mutable_data_ptr<T>();
  return args;
}

std::tuple<Tensor, Tensor> marching_tets_backward(
    const Tensor& grad, const Tensor& crossed, const Tensor& sdf, const Tensor& vertices) {
  Tensor grad_sdf = new_zeros(sdf, {sdf.size(0)}), grad_vertices = new_zeros(sdf, {sdf.size(0), 3});
  STD_TORCH_CHECK(vertices.is_contiguous() && vertices.numel() == 3 * sdf.numel(),
                  "vertices must be contiguous (V, 3)");
  for_float_dtype(sdf, [&]<typename T>(T) {
    BackwardArgs<T> args = make_backward<T>(grad, crossed, sdf, grad_sdf);
    args.vertices = vertices.const_data_ptr<T>();
    args.grad_vertices = grad_vertices.mutable_data_ptr<T>();
    A3D_ON_DEVICE(sdf, backward, args);
  });
  return {grad_sdf, grad_vertices};
}

Tensor marching_tets_dense_backward(
    const Tensor& grad, const Tensor& crossed, const Tensor& sdf, Numbers lower, Numbers upper) {
  Tensor grad_sdf = new_zeros(sdf, {sdf.size(0), sdf.size(1), sdf.size(2)});
  for_float_dtype(sdf, [&]<typename T>(T) {
    BackwardArgs<T> args = make_backward<T>(grad, crossed, sdf, grad_sdf);
    for (int d = 0; d < 3; ++d) args.size[d] = sdf.size(d);
    set_grid(lower, upper, args.size, args.lower, args.spacing);
    A3D_ON_DEVICE(sdf, backward, args);
  });
  return grad_sdf;
}

// The rest is for the CPU only: a grid is built once, then moved.
void check_tets(const Tensor& tets) {
  STD_TORCH_CHECK(is_table(tets, 4) && tets.is_cpu(), "tets must be contiguous (T, 4) int32 on the CPU");
}

Tensor tet_grid_orient(const Tensor& vertices, const Tensor& tets) {
  check_tets(tets);
  STD_TORCH_CHECK(vertices.is_contiguous() && vertices.is_cpu(), "vertices must be contiguous (V, 3) on the CPU");
  const int64_t n_vertices = vertices.size(0);
  Tensor out = torch::stable::clone(tets);
  int32_t* corner = out.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < out.numel(); ++i)
    STD_TORCH_CHECK(corner[i] >= 0 && corner[i] < n_vertices, "TetGrid: tet ", i / 4, " has vertex ", corner[i],
                    ", but there are ", n_vertices, " vertices");
  for_float_dtype(vertices, [&]<typename T>(T) { orient(vertices.const_data_ptr<T>(), corner, tets.size(0)); });
  return out;
}

std::tuple<Tensor, Tensor> tet_grid_edges(const Tensor& tets, int64_t n_vertices) {
  check_tets(tets);
  STD_TORCH_CHECK(tets.size(0) < (int64_t(1) << 32) / 6 && n_vertices <= kMaxIndex,
                  "TetGrid: too many tets or vertices");
  EdgesArgs args{};
  args.tets = tets.const_data_ptr<int32_t>();
  args.n_tets = tets.size(0);
  args.n_vertices = n_vertices;
  Tensor tet_edges = new_empty(tets, {args.n_tets, 6});
  Tensor entries = new_empty(tets, {6 * args.n_tets}, ScalarType::Long);
  Tensor first = new_zeros(tets, {n_vertices + 1}, ScalarType::Long);
  Tensor unique = new_zeros(tets, {n_vertices + 1}, ScalarType::Long);
  args.tet_edges = tet_edges.mutable_data_ptr<int32_t>();
  args.entries = reinterpret_cast<uint64_t*>(entries.mutable_data_ptr<int64_t>());
  args.first = first.mutable_data_ptr<int64_t>();
  args.unique = unique.mutable_data_ptr<int64_t>();
  sort_edges(args);
  STD_TORCH_CHECK(args.unique[n_vertices] <= kMaxIndex, "TetGrid: more than 2^31 - 1 edges");
  Tensor edges = new_empty(tets, {args.unique[n_vertices], 2});
  write_edges(args, edges.mutable_data_ptr<int32_t>());
  return {edges, tet_edges};
}

std::tuple<Tensor, Tensor> tet_grid_cover(const Tensor& tets) {
  check_tets(tets);
  const int64_t n_words = words_of(tets.size(0));
  Tensor first = new_zeros(tets, {n_words + 1});
  CoverArgs args{tets.const_data_ptr<int32_t>(), tets.size(0), first.mutable_data_ptr<int32_t>(), nullptr};
  count_cover(args);
  Tensor cover = new_empty(tets, {args.first[n_words], 2});
  args.cover = reinterpret_cast<uint32_t*>(cover.mutable_data_ptr<int32_t>());
  write_cover(args);
  return {first, cover};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("marching_tets(Tensor sdf, Tensor vertices, Tensor tets, Tensor edges, Tensor tet_edges, Tensor cover_first, "
        "Tensor cover) -> (Tensor, Tensor, Tensor)");
  m.def("marching_tets_backward(Tensor grad, Tensor crossed, Tensor sdf, Tensor vertices) -> (Tensor, Tensor)");
  m.def("marching_tets_dense(Tensor sdf, float[] lower, float[] upper) -> (Tensor, Tensor, Tensor)");
  m.def(
      "marching_tets_dense_backward(Tensor grad, Tensor crossed, Tensor sdf, float[] lower, float[] upper) -> Tensor");
  m.def("tet_grid_orient(Tensor vertices, Tensor tets) -> Tensor");
  m.def("tet_grid_edges(Tensor tets, int n_vertices) -> (Tensor, Tensor)");
  m.def("tet_grid_cover(Tensor tets) -> (Tensor, Tensor)");
}
#define A3D_REGISTER(m)                                                              \
  m.impl("marching_tets", TORCH_BOX(&marching_tets));                                \
  m.impl("marching_tets_backward", TORCH_BOX(&marching_tets_backward));              \
  m.impl("marching_tets_dense", TORCH_BOX(&marching_tets_dense));                    \
  m.impl("marching_tets_dense_backward", TORCH_BOX(&marching_tets_dense_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) {
  A3D_REGISTER(m);
  m.impl("tet_grid_orient", TORCH_BOX(&tet_grid_orient));
  m.impl("tet_grid_edges", TORCH_BOX(&tet_grid_edges));
  m.impl("tet_grid_cover", TORCH_BOX(&tet_grid_cover));
}
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER(m); }
#endif
}  // namespace asset3d::marching_tets
