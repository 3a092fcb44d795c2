#include "parallel.h"

#include <torch/csrc/stable/ops.h>
#include <exception>
#include <mutex>

namespace asset3d {
namespace {
struct Call {
  ParallelBody body;
  void* context;
  std::mutex mutex;
  std::exception_ptr error;
};
}  // namespace

int thread_count() { return int(torch::stable::get_num_threads()); }

// Exceptions are carried across by hand: torch's C interface would reduce them to an error code.
void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, ParallelBody body, void* context) {
  Call call{body, context, {}, nullptr};
  torch::stable::parallel_for(begin, end, grain, [&call](int64_t first, int64_t last) {
    try {
      call.body(call.context, first, last);
    } catch (...) {
      std::lock_guard<std::mutex> lock(call.mutex);
      if (!call.error) call.error = std::current_exception();
    }
  });
  if (call.error) std::rethrow_exception(call.error);
}
}  // namespace asset3d
