#include "pool.h"

#include <chrono>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace unillm {
namespace {

// Between the kernels of one step a worker stays awake; between steps it may sleep.
constexpr auto awake = std::chrono::microseconds(200);
constexpr int looks_per_clock = 64;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr uint64_t number_of(uint64_t gate) { return gate >> 32; }

}  // namespace

Pool::Pool(int threads) : ranges_(static_cast<size_t>(threads)) {
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

Pool::~Pool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::run_job(long items, Call call, void* job) {
  if (workers_.empty() || items <= 1) {
    for (long item = 0; item < items; ++item) call(job, item, 0);
    return;
  }
  call_ = call;
  job_ = job;
  for (size_t i = 0, count = ranges_.size(); i < count; ++i) {
    ranges_[i].next.store(items * static_cast<long>(i) / static_cast<long>(count), std::memory_order_relaxed);
    ranges_[i].end = items * static_cast<long>(i + 1) / static_cast<long>(count);
  }
  gate_.store((number_of(gate_.load(std::memory_order_relaxed)) + 1) << 32);
  if (asleep_.load() > 0) {
    { const std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  take_items(0);
  gate_.fetch_or(closed);
  for (int looks = 0; gate_.load(std::memory_order_acquire) & inside; ++looks) {
    looks < 4096 ? pause() : std::this_thread::yield();
  }
}

void Pool::take_items(int thread) {
  for (size_t i = 0, count = ranges_.size(); i < count; ++i) {
    Range& range = ranges_[(static_cast<size_t>(thread) + i) % count];
    for (long item; (item = range.next.fetch_add(1, std::memory_order_relaxed)) < range.end;) call_(job_, item, thread);
  }
}

// True when a job newer than `seen` is open; it then cannot end before this worker leaves.
bool Pool::enter(uint64_t& seen) {
  uint64_t gate = gate_.load(std::memory_order_acquire);
  while (number_of(gate) != seen && !(gate & closed)) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) {
      seen = number_of(gate);
      return true;
    }
  }
  return false;
}

void Pool::wait_for_job(uint64_t seen) {
  const auto until = std::chrono::steady_clock::now() + awake;
  const auto arrived = [&] { return stop_.load() || number_of(gate_.load()) != seen; };
  do {
    for (int look = 0; look < looks_per_clock; ++look) {
      if (arrived()) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  std::unique_lock<std::mutex> lock(mutex_);
  asleep_.fetch_add(1);
  wake_.wait(lock, arrived);
  asleep_.fetch_sub(1);
}

void Pool::work(int thread) {
  uint64_t seen = number_of(gate_.load());
  while (!stop_.load()) {
    if (enter(seen)) {
      take_items(thread);
      gate_.fetch_sub(1, std::memory_order_release);
    } else {
      const uint64_t missed = gate_.load();
      if (missed & closed) seen = number_of(missed);
      wait_for_job(seen);
    }
  }
}

}  // namespace unillm
