#pragma once
// How the CPU kernels of this folder share work: jobs handed out one by one, and scatters whose result depends
// neither on the number of threads nor on which of them was faster.
#include <algorithm>
#include <atomic>
#include <vector>
#include "../common/parallel.h"
#include "triangle.h"

namespace asset3d::triangle {

// Calls fn(job) for each of n jobs of unequal cost; a free thread takes the next one.
template <typename Fn>
void for_each_job(int64_t n, Fn&& fn) {
  std::atomic<int64_t> next{0};
  parallel_for(0, std::min<int64_t>(n, thread_count()), 1, [&](int64_t, int64_t) {
    for (int64_t job = next++; job < n; job = next++) fn(job);
  });
}

template <typename Fn>
void for_each_row(const ImageSize& size, Fn&& fn) {
  parallel_for(0, size.batch * size.height, std::max(1, 4096 / std::max(1, size.width)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) fn(row * size.width, (row + 1) * size.width);
               });
}

// Items sorted into bins; those of a bin stand in ascending order.
struct Bins {
  std::vector<int64_t> first;  // per bin, and the end
  std::vector<int32_t> items;
};

// visit(item, emit) calls emit(bin) for each bin of an item; it runs twice per item.
template <typename Visit>
Bins bin_items(int64_t n_items, int64_t n_bins, int64_t items_per_chunk, Visit&& visit) {
  const int64_t chunks = (n_items + items_per_chunk - 1) / items_per_chunk;
  std::vector<int64_t> cursor(chunks * n_bins, 0);  // items per chunk and bin, then where the chunk writes
  const auto for_chunk = [&](int64_t chunk, auto&& fn) {
    for (int64_t i = chunk * items_per_chunk; i < std::min(n_items, (chunk + 1) * items_per_chunk); ++i) fn(i);
  };
  for_each_job(chunks, [&](int64_t chunk) {
    for_chunk(chunk, [&](int64_t i) { visit(i, [&](int64_t bin) { ++cursor[chunk * n_bins + bin]; }); });
  });
  Bins bins;
  bins.first.resize(n_bins + 1);
  int64_t total = 0;
  for (int64_t bin = 0; bin < n_bins; ++bin) {
    bins.first[bin] = total;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t n = cursor[chunk * n_bins + bin];
      cursor[chunk * n_bins + bin] = total;
      total += n;
    }
  }
  bins.first[n_bins] = total;
  bins.items.resize(total);
  for_each_job(chunks, [&](int64_t chunk) {
    for_chunk(chunk, [&](int64_t i) {
      visit(i, [&](int64_t bin) { bins.items[cursor[chunk * n_bins + bin]++] = int32_t(i); });
    });
  });
  return bins;
}

// Sums of what fn(first_pixel, last_pixel, sums) adds into sums (n_out values) over all pixels, into out (zeroed).
// The image is cut into bands by sizes alone; each has its own sums, added up in order.
template <typename T, typename Fn>
void scatter_bands(int64_t n_pixels, int64_t n_out, int64_t floats_per_pixel, T* out, Fn&& fn) {
  if (n_pixels == 0 || n_out == 0) return;
  const int64_t affordable = 4 * n_pixels * floats_per_pixel / std::max<int64_t>(1, n_out);
  const int64_t bands = std::min<int64_t>({std::clamp<int64_t>(affordable, 2, 16), n_pixels});
  std::vector<std::vector<T>> sums(bands);
  for_each_job(bands, [&](int64_t band) {
    sums[band].assign(n_out, T(0));
    fn(n_pixels * band / bands, n_pixels * (band + 1) / bands, sums[band].data());
  });
  parallel_for(0, n_out, 8192, [&](int64_t begin, int64_t end) {
    for (const std::vector<T>& band : sums)
      for (int64_t i = begin; i < end; ++i) out[i] += band[i];
  });
}
}  // namespace asset3d::triangle
