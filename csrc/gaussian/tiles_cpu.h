#pragma once
// Lists of the Gaussians of each tile, CPU schedule. In two steps, because the caller provides the memory: the
// constructor counts, write() fills.
#include <cstdint>
#include <vector>
#include "gaussian.h"

namespace asset3d::gaussian {
template <typename T>
class TileLists {
 public:
  // Counts; beyond the budget nothing is kept but the counts.
  TileLists(const Splats<T>& splats, int64_t budget);
  // slot_first (B * N + 1), tile_first (B * tiles + 1), entries (total)
  void write(int64_t* slot_first, int64_t* tile_first, Entry* entries) const;

  int64_t total = 0;
  int64_t largest = 0, largest_at = 0;  // most tiles of one Gaussian, and its index in (B, N)

 private:
  struct Key { T depth; int32_t gaussian; };
  struct Chunk {  // of consecutive Gaussians, some images' after one another
    std::vector<int32_t> tiles;   // of its Gaussians, one after another
    std::vector<int32_t> counts;  // tiles of each of them
    std::vector<Key> keys;        // of those that have any
    int64_t total = 0, largest = 0, largest_at = 0;
  };
  void scan(Chunk& chunk, int64_t begin, int64_t end, int64_t limit) const;
  std::vector<int32_t> depth_order(int64_t image) const;
  void write_image(int64_t image, const int64_t* slot_first, int64_t* tile_first, Entry* entries) const;

  Splats<T> splats_;
  int64_t chunks_per_image_;
  std::vector<Chunk> chunks_;
  std::vector<int64_t> chunk_first_;  // slots before each chunk
};
}  // namespace asset3d::gaussian
