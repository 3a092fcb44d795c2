// One sort by depth, then a counting sort into tiles that keeps that order. Every position is a sum of counts, so the
// lists are the same for any number of threads.
#include "tiles_cpu.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>
#include "../common/parallel.h"
#include "tiles_math.h"

namespace asset3d::gaussian {
namespace {
constexpr int64_t kChunk = 4096;  // Gaussians

// Stable, by the bits of positive floats; 11 bits a pass.
void radix_sort(std::vector<uint64_t>& values) {
  constexpr int kBits = 11, kPasses = 3;
  constexpr uint32_t kBuckets = 1u << kBits;
  std::vector<uint32_t> counts(kPasses * kBuckets, 0);
  for (const uint64_t v : values)
    for (int pass = 0; pass < kPasses; ++pass) ++counts[pass * kBuckets + (v >> (32 + pass * kBits) & (kBuckets - 1))];
  std::vector<uint64_t> other(values.size());
  for (int pass = 0; pass < kPasses; ++pass) {
    uint32_t* first = counts.data() + pass * kBuckets;
    uint32_t sum = 0;
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) sum += std::exchange(first[bucket], sum);
    for (const uint64_t v : values) other[first[v >> (32 + pass * kBits) & (kBuckets - 1)]++] = v;
    values.swap(other);
  }
}
}  // namespace

template <typename T>
TileLists<T>::TileLists(const Splats<T>& splats, int64_t budget)
    : splats_(splats), chunks_per_image_((splats.n + kChunk - 1) / kChunk), chunks_(chunks_per_image_ * splats.n_images) {
  std::atomic<int64_t> seen{0};
  parallel_for(0, int64_t(chunks_.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t image = c / chunks_per_image_, begin = c % chunks_per_image_ * kChunk;
      const int64_t end = std::min(begin + kChunk, splats_.n);
      scan(chunks_[c], image * splats_.n + begin, image * splats_.n + end, budget - seen.load());
      seen += chunks_[c].total;
    }
  });
  chunk_first_.reserve(chunks_.size());
  for (const Chunk& chunk : chunks_) {
    chunk_first_.push_back(total);
    total += chunk.total;
    if (chunk.largest > largest) largest = chunk.largest, largest_at = chunk.largest_at;
  }
}

template <typename T>
void TileLists<T>::scan(Chunk& chunk, int64_t begin, int64_t end, int64_t limit) const {
  chunk.counts.assign(end - begin, 0);
  chunk.tiles.reserve(2 * (end - begin));
  for (int64_t at = begin; at < end; ++at) {
    T record[kValues];
    if (!make_geometry(splats_, at, record)) continue;
    int64_t n = count_tiles(record, splats_.size);
    if (n == 0) continue;
    if (n > chunk.largest) chunk.largest = n, chunk.largest_at = at;
    chunk.total += n;
    if (chunk.total > limit) continue;
    chunk.counts[at - begin] = int32_t(n);
    chunk.keys.push_back({splats_.depths[at], int32_t(at % splats_.n)});
    for_each_tile(record, splats_.size, [&](int32_t tile) { chunk.tiles.push_back(tile); });
  }
}

template <typename T>
std::vector<int32_t> TileLists<T>::depth_order(int64_t image) const {
  std::vector<Key> keys;
  for (int64_t c = image * chunks_per_image_; c < (image + 1) * chunks_per_image_; ++c)
    keys.insert(keys.end(), chunks_[c].keys.begin(), chunks_[c].keys.end());
  std::vector<int32_t> order(keys.size());
  if constexpr (std::is_same_v<T, float>) {
    const auto positive = [](const Key& key) { return key.depth > 0; };
    if (std::all_of(keys.begin(), keys.end(), positive)) {
      std::vector<uint64_t> values(keys.size());
      for (size_t i = 0; i < keys.size(); ++i)
        values[i] = uint64_t(std::bit_cast<uint32_t>(keys[i].depth)) << 32 | uint32_t(keys[i].gaussian);
      radix_sort(values);
      for (size_t i = 0; i < keys.size(); ++i) order[i] = int32_t(uint32_t(values[i]));
      return order;
    }
  }
  std::stable_sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return a.depth < b.depth; });
  for (size_t i = 0; i < keys.size(); ++i) order[i] = keys[i].gaussian;
  return order;
}

template <typename T>
void TileLists<T>::write(int64_t* slot_first, int64_t* tile_first, Entry* entries) const {
  parallel_for(0, int64_t(chunks_.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      int64_t slot = chunk_first_[c];
      int64_t* out = slot_first + c / chunks_per_image_ * splats_.n + c % chunks_per_image_ * kChunk;
      for (const int32_t count : chunks_[c].counts) *out++ = slot, slot += count;
    }
  });
  slot_first[splats_.n * splats_.n_images] = total;
  tile_first[splats_.size.tiles() * splats_.n_images] = total;
  for (int64_t image = 0; image < splats_.n_images; ++image) write_image(image, slot_first, tile_first, entries);
}

// Threads take equal parts of the depth order: they count per tile, the counts of all parts are added up tile by tile and
// part by part, and each part then fills the places that are its own.
template <typename T>
void TileLists<T>::write_image(int64_t image, const int64_t* slot_first, int64_t* tile_first, Entry* entries) const {
  const std::vector<int32_t> order = depth_order(image);
  const int64_t n_tiles = splats_.size.tiles(), n_parts = std::max(1, thread_count()), n = int64_t(order.size());
  std::vector<int64_t> places(n_parts * n_tiles, 0);
  const auto for_each_entry = [&](int64_t part, auto&& visit) {
    for (int64_t k = n * part / n_parts; k < n * (part + 1) / n_parts; ++k) {
      const int64_t c = image * chunks_per_image_ + order[k] / kChunk, at = image * splats_.n + order[k];
      const int32_t* tile = chunks_[c].tiles.data() + (slot_first[at] - chunk_first_[c]);
      const int32_t count = chunks_[c].counts[order[k] % kChunk];
      for (int32_t i = 0; i < count; ++i) visit(tile[i], Entry{order[k], int32_t(slot_first[at] + i)});
    }
  };
  const auto for_each_part = [&](auto&& body) {
    parallel_for(0, n_parts, 1, [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) body(part);
    });
  };
  for_each_part([&](int64_t part) {
    int64_t* counts = places.data() + part * n_tiles;
    for_each_entry(part, [&](int32_t tile, Entry) { ++counts[tile]; });
  });
  int64_t place = image * chunks_per_image_ < int64_t(chunks_.size()) ? chunk_first_[image * chunks_per_image_] : total;
  for (int64_t tile = 0; tile < n_tiles; ++tile) {
    tile_first[image * n_tiles + tile] = place;
    for (int64_t part = 0; part < n_parts; ++part) place += std::exchange(places[part * n_tiles + tile], place);
  }
  for_each_part([&](int64_t part) {
    int64_t* next = places.data() + part * n_tiles;
    for_each_entry(part, [&](int32_t tile, Entry entry) { entries[next[tile]++] = entry; });
  });
}

template class TileLists<float>;
template class TileLists<double>;
}  // namespace asset3d::gaussian
