#pragma once
// Lists of the Gaussians of each tile, CPU schedule. In two steps, because the caller provides the memory: the
// constructor counts, write() fills.
#include <algorithm>
#include <cstdint>
#include <vector>
#include "gaussian.h"

namespace asset3d::gaussian {
template <typename T>
class TileLists {
 public:
  // Fills geometry (B * N, kGeometry), and counts; beyond the budget nothing is kept but the counts.
  TileLists(const Splats<T>& splats, int64_t budget, T* geometry);
  // slot_first (B * N + 1), tile_first (B * tiles + 1), entries (total)
  void write(int64_t* slot_first, int64_t* tile_first, Entry* entries);

  int64_t total = 0;
  int64_t largest = 0, largest_at = 0;  // most tiles of one Gaussian, and its index in (B, N)

 private:
  struct Seen { T depth; int32_t gaussian, count; };  // a Gaussian that has tiles
  struct Chunk {  // of consecutive Gaussians of one image
    std::vector<int32_t> tiles;  // of its Gaussians, one after another, and room for more
    std::vector<Seen> seen;
    int64_t kept = 0;            // tiles, and those of the Gaussians that did not exceed the budget
    int64_t total = 0, largest = 0, largest_at = 0, first_slot = 0;
    int32_t* room_for(int64_t n) {
      if (int64_t(tiles.size()) < kept + n) tiles.resize(std::max<size_t>(2 * tiles.size(), size_t(kept + n)));
      return tiles.data() + kept;
    }
  };
  void scan(Chunk& chunk, int64_t begin, int64_t end, int64_t limit);
  bool add(Chunk& chunk, int64_t at, int32_t gaussian, int64_t count, int64_t limit);

  Splats<T> splats_;
  T* geometry_;
  int64_t chunks_per_image_;
  std::vector<Chunk> chunks_;
};
}  // namespace asset3d::gaussian
