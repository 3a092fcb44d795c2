// Lanes: Gaussians.
#include "../common/simd.h"
#include "../common/simd_math.h"
#include "tiles_math.h"
#include "tiles_simd.h"

namespace asset3d::gaussian::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;

namespace {
A3D_LANE Splat<Float> load_splats(const Splats<float>& s, int64_t at, int n) {
  Float mean[2], conic[3], radius[2];
  load_rows<2>(s.means_2d + 2 * at, n, mean);
  load_rows<3>(s.conics + 3 * at, n, conic);
  load_rows<2>(s.radii + 2 * at, n, radius);
  const Mask m = first_lanes(n);
  return {mean[0],   mean[1],  {conic[0], conic[1], conic[2]}, load(s.opacities + at, m), load(s.depths + at, m),
          radius[0], radius[1]};
}

struct Range { Int first, last; };

// Numbers of tiles along one side of n pixels; last is -1 where there are none.
A3D_LANE Range tiles_between(Float low, Float high, int n) {
  const Float zero(0.0f), pixels{float(n)}, half(0.5f);
  const Int first = to_int(min(max(ceil(low - half), zero), pixels));
  const Int last = to_int(min(max(floor(high - half), Float(-1.0f)), pixels - Float(1.0f)));
  const Mask some = first <= last;
  return {select(some, first >> 4, Int(0)), select(some, last >> 4, Int(-1))};
}
}  // namespace

void tile_spans(const Splats<float>& s, int64_t begin, int n, float* geometry, TileSpans& spans) {
  const float lowest = std::log2(s.alpha_min);
  for (int i = 0; i < n; i += kLanes) {
    const Mask m = first_lanes(n - i);
    const Geometry<Float> g = make_geometry(load_splats(s, begin + i, n - i), s.alpha_min, lowest);
    const Float fields[kGeometry] = {g.mean_x, g.mean_y, g.l11, g.l21, g.l22, g.level, g.reach_y, g.widest};
    store_rows<kGeometry>(geometry + (begin + i) * kGeometry, n - i, fields);
    const Mask drawn = m & (g.reach_y > Float(0.0f));
    const Float slack = slack_of(g.mean_y), inverse_l11 = Float(1.0f) / g.l11;
    const Range rows = tiles_between(g.mean_y - g.reach_y - slack, g.mean_y + g.reach_y + slack, s.size.height);
    store(spans.row + i, rows.first);
    store(spans.n_rows + i, select(drawn, rows.last - rows.first + Int(1), Int(0)));
    for (int k = 0; k < 2; ++k) {
      const Float top = to_float((rows.first + Int(k)) << 4) + Float(0.5f);
      const Span<Float> columns = columns_between(g, inverse_l11, top, top + Float(float(kTile - 1)));
      const Range tiles = tiles_between(columns.low, columns.high, s.size.width);
      store(spans.first[k] + i, tiles.first);
      store(spans.last[k] + i, tiles.last);
    }
  }
}
}  // namespace asset3d::gaussian::A3D_ISA
