// A counting sort into tiles that keeps the order of the Gaussians, then a stable sort by depth of each tile's list,
// which fits a cache: the two need as many passes over memory as one sort of all by depth, and no thread waits for
// another in between. Every position is a sum of counts, so the lists are the same for any number of threads.
#include "tiles_cpu.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <numeric>
#include <type_traits>
#include <utility>
#include "../common/parallel.h"
#include "tiles_math.h"
#include "tiles_simd.h"

namespace asset3d::gaussian {
namespace {
constexpr int64_t kChunk = 2048;  // Gaussians
static_assert(kChunk % kSpanned == 0);

// Memory that is written before it is read.
template <typename U> std::unique_ptr<U[]> uninitialized(int64_t n) { return std::unique_ptr<U[]>(new U[n]); }

// body(part, begin, end) for equal parts of n items, one per thread.
template <typename Body>
void for_each_part(int64_t n, int64_t n_parts, Body&& body) {
  parallel_for(0, n_parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) body(part, n * part / n_parts, n * (part + 1) / n_parts);
  });
}

// An entry with its depth.
template <typename T> struct Listed { T depth; Entry entry; };

// Sorts the entries of one tile, front to back; the first of equal depths stays first.
class TileSorter {
 public:
  template <typename T>
  void sort(const Listed<T>* listed, int64_t n, Entry* entries) {
    if constexpr (std::is_same_v<T, float>) {
      if (n <= int64_t(UINT32_MAX) &&
          std::all_of(listed, listed + n, [](const Listed<T>& one) { return one.depth > 0; })) {
        radix_sort(listed, n);
        for (int64_t i = 0; i < n; ++i) entries[i] = listed[uint32_t(keys_[i])].entry;
        return;
      }
    }
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), int64_t(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return listed[a].depth < listed[b].depth; });
    for (int64_t i = 0; i < n; ++i) entries[i] = listed[order[i]].entry;
  }

 private:
  // Positive floats are ordered like their bits. A byte in which all agree needs no pass.
  void radix_sort(const Listed<float>* listed, int64_t n) {
    if (int64_t(keys_.size()) < n) keys_.resize(2 * n), other_.resize(2 * n);
    uint32_t counts[4][256] = {}, all = ~0u, some = 0;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(listed[i].depth);
      keys_[i] = uint64_t(bits) << 32 | uint64_t(i);
      all &= bits, some |= bits;
      for (int byte = 0; byte < 4; ++byte) ++counts[byte][bits >> 8 * byte & 255];
    }
    for (int byte = 0; byte < 4; ++byte) {
      if (((all ^ some) >> 8 * byte & 255) == 0) continue;
      uint32_t first = 0;
      for (uint32_t& count : counts[byte]) first += std::exchange(count, first);
      for (int64_t i = 0; i < n; ++i) other_[counts[byte][keys_[i] >> (32 + 8 * byte) & 255]++] = keys_[i];
      keys_.swap(other_);
    }
  }

  std::vector<uint64_t> keys_, other_;
};
}  // namespace

template <typename T>
TileLists<T>::TileLists(const Splats<T>& splats, int64_t budget, T* geometry)
    : splats_(splats), geometry_(geometry), chunks_per_image_((splats.n + kChunk - 1) / kChunk),
      chunks_(chunks_per_image_ * splats.n_images) {
  std::atomic<int64_t> kept{0};
  parallel_for(0, int64_t(chunks_.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t image = c / chunks_per_image_, begin = c % chunks_per_image_ * kChunk;
      scan(chunks_[c], image * splats_.n + begin, image * splats_.n + std::min(begin + kChunk, splats_.n),
           budget - kept);
      kept += chunks_[c].total;
    }
  });
  for (Chunk& chunk : chunks_) {
    chunk.first_slot = total;
    total += chunk.total;
    if (chunk.largest > largest) largest = chunk.largest, largest_at = chunk.largest_at;
  }
}

// Notes a Gaussian of `count` tiles; whether there is room for them.
template <typename T>
bool TileLists<T>::add(Chunk& chunk, int64_t at, int32_t gaussian, int64_t count, int64_t limit) {
  if (count == 0) return false;
  if (count > chunk.largest) chunk.largest = count, chunk.largest_at = at;
  chunk.total += count;
  if (chunk.total > limit) return false;
  chunk.seen.push_back({splats_.depths[at], gaussian, int32_t(count)});
  return true;
}

template <typename T>
void TileLists<T>::scan(Chunk& chunk, int64_t begin, int64_t end, int64_t limit) {
  chunk.seen.reserve(end - begin);
  chunk.tiles.resize(3 * (end - begin));
  const ImageSize size = splats_.size;
  const int32_t first_gaussian = int32_t(begin % splats_.n);
  const auto add_any = [&](int64_t at, const Geometry<T>& g) {
    const int64_t count = count_tiles(g, size);
    if (!add(chunk, at, first_gaussian + int32_t(at - begin), count, limit)) return;
    int32_t* out = chunk.room_for(count);
    for_each_tile(g, size, [&](int32_t tile) { *out++ = tile; });
    chunk.kept += count;
  };
  if constexpr (std::is_same_v<T, float>) {
    for (int64_t first = begin; first < end; first += kSpanned) {
      TileSpans spans;
      const int n = int(std::min<int64_t>(kSpanned, end - first));
      A3D_DISPATCH(tile_spans)(splats_, first, n, geometry_, spans);
      for (int i = 0; i < n; ++i) {
        const int32_t rows = spans.n_rows[i];
        if (rows == 0) continue;
        if (rows > 2) {
          add_any(first + i, geometry_of(geometry_ + (first + i) * kGeometry));
          continue;
        }
        const int64_t count =
            spans.last[0][i] - spans.first[0][i] + 1 + (rows == 2 ? spans.last[1][i] - spans.first[1][i] + 1 : 0);
        if (!add(chunk, first + i, first_gaussian + int32_t(first + i - begin), count, limit)) continue;
        int32_t* out = chunk.room_for(count);
        for (int k = 0; k < rows; ++k)
          for (int32_t x = spans.first[k][i]; x <= spans.last[k][i]; ++x)
            *out++ = (spans.row[i] + k) * size.tiles_x() + x;
        chunk.kept += count;
      }
    }
  } else {
    const T lowest = std::log2(splats_.alpha_min);
    for (int64_t at = begin; at < end; ++at) {
      const Geometry<T> g = make_geometry(splat_at(splats_, at), splats_.alpha_min, lowest);
      std::copy_n(&g.mean_x, kGeometry, geometry_ + at * kGeometry);
      add_any(at, g);
    }
  }
}

// Fills the slots of a chunk's Gaussians, and puts their entries where `places` says for each tile.
template <typename T, typename Chunk>
void write_chunk(const Chunk& chunk, int64_t first, int64_t last, int64_t* slots, int64_t* places, Listed<T>* listed) {
  int64_t slot = chunk.first_slot;
  const int32_t* tile = chunk.tiles.data();
  for (const auto& seen : chunk.seen) {
    while (first <= seen.gaussian) slots[first++] = slot;
    for (int32_t k = 0; k < seen.count; ++k, ++slot)
      listed[places[*tile++]++] = {seen.depth, {seen.gaussian, int32_t(slot)}};
  }
  while (first < last) slots[first++] = slot;
}

// Threads take equal parts of each image's chunks: they count per tile, the counts are added up tile by tile and part
// by part, and each part then fills the places that are its own.
template <typename T>
void TileLists<T>::write(int64_t* slot_first, int64_t* tile_first, Entry* entries) {
  const int64_t n_tiles = splats_.size.tiles(), n_images = splats_.n_images;
  const int64_t n_parts = std::min<int64_t>(std::max(1, thread_count()), std::max<int64_t>(1, chunks_per_image_));
  std::vector<int64_t> places(n_images * n_parts * n_tiles, 0);
  const std::unique_ptr<Listed<T>[]> listed(new Listed<T>[total]);
  const auto for_each_chunk = [&](auto&& body) {  // body(chunk, places of its part)
    parallel_for(0, n_images * n_parts, 1, [&](int64_t first, int64_t last) {
      for (int64_t k = first; k < last; ++k)
        for (int64_t c = chunks_per_image_ * (k % n_parts) / n_parts;
             c < chunks_per_image_ * (k % n_parts + 1) / n_parts; ++c)
          body(k / n_parts * chunks_per_image_ + c, places.data() + k * n_tiles);
    });
  };
  for_each_chunk([&](int64_t c, int64_t* counts) {
    for (int64_t k = 0; k < chunks_[c].kept; ++k) ++counts[chunks_[c].tiles[k]];
  });
  int64_t place = 0;
  for (int64_t image = 0; image < n_images; ++image)
    for (int64_t tile = 0; tile < n_tiles; ++tile) {
      tile_first[image * n_tiles + tile] = place;
      for (int64_t part = 0; part < n_parts; ++part)
        place += std::exchange(places[(image * n_parts + part) * n_tiles + tile], place);
    }
  tile_first[n_images * n_tiles] = slot_first[n_images * splats_.n] = total;
  for_each_chunk([&](int64_t c, int64_t* next) {
    const int64_t begin = c % chunks_per_image_ * kChunk;
    write_chunk(chunks_[c], begin, std::min(begin + kChunk, splats_.n), slot_first + c / chunks_per_image_ * splats_.n,
                next, listed.get());
  });
  std::atomic<int64_t> next{0};  // lists differ in length, so tiles are handed out some at a time
  parallel_for(0, std::min<int64_t>(thread_count(), n_images * n_tiles), 1, [&](int64_t, int64_t) {
    TileSorter sorter;
    for (int64_t first; (first = next.fetch_add(16)) < n_images * n_tiles;)
      for (int64_t tile = first; tile < std::min(first + 16, n_images * n_tiles); ++tile)
        sorter.sort(listed.get() + tile_first[tile], tile_first[tile + 1] - tile_first[tile],
                    entries + tile_first[tile]);
  });
}

template class TileLists<float>;
template class TileLists<double>;
}  // namespace asset3d::gaussian
