// The threads of a context. The caller is one of them, and never waits for one that has not begun.
//
// A job is a number of items. Each thread takes those of its own range one by one, so that what it reads is in one
// piece, and then those that others have left. A worker that is asleep, or that the system runs elsewhere, costs nothing:
// the others take its items. So a machine busy with other things slows a job, and never stops it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace unillm {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(item, thread) for every item; returns when all have returned. One caller at a time.
  template <class WORK>
  void run(long items, WORK& work) {
    run_job(items, [](void* job, long item, int thread) { (*static_cast<WORK*>(job))(item, thread); }, &work);
  }

 private:
  using Call = void (*)(void* job, long item, int thread);

  void run_job(long items, Call call, void* job);
  void work(int thread);
  void take_items(int thread);
  bool enter(uint64_t& seen);
  void wait_for_job(uint64_t seen);

  // What is left of one thread's range.
  struct alignas(64) Range {
    std::atomic<long> next{0};
    long end = 0;
  };

  static constexpr uint64_t closed = uint64_t{1} << 31, inside = closed - 1;

  Call call_ = nullptr;
  void* job_ = nullptr;
  std::vector<Range> ranges_;
  alignas(64) std::atomic<uint64_t> gate_{closed};  // the job's number, whether it is closed, how many workers are inside
  alignas(64) std::atomic<int> asleep_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace unillm
