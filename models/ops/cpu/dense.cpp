// Products with weights as a file has them: who computes which rows of the weight.
#include "context.h"
#include "products.h"

namespace unillm {
namespace {

constexpr long padding = 32;  // numbers: activations are whole vectors, zeros at the end

struct DenseCall {
  unillm_context& context;
  NumberRows x;
  long rows;
  int y_kind;

  // The activations as `kind`.
  const char* prepare(int kind, long stride) {
    const size_t bytes = static_cast<size_t>(rows * stride) * (kind == UNILLM_F32 ? 4 : 2);
    uint8_t* to = context.activations.at_least(bytes);
    share_rows(context.pool, rows, x.columns,
               [&](long first, long last) { context.kernels.convert(x, kind, first, last, stride, to); });
    return reinterpret_cast<const char*>(to);
  }

  DenseProduct describe(const unillm_product& product, const char* from, long x_bytes) const {
    const long weight_bytes = product.kind == UNILLM_F32 ? 4 : 2;
    return {static_cast<const char*>(product.weight), static_cast<long>(product.weight_stride) * weight_bytes, from, x_bytes,
            rows, rows_at_once(rows, x_bytes), x.columns, product.y, y_kind, static_cast<long>(product.y_stride),
            static_cast<long>(product.columns), product.accumulate != 0};
  }

  // Products whose activations are of one kind, as one job.
  void multiply(const unillm_product* products, int count, int kind) {
    const long stride = (x.columns + padding - 1) / padding * padding, x_bytes = stride * (kind == UNILLM_F32 ? 4 : 2);
    const char* from = prepare(kind, stride);
    share_tiles(context.pool, products, count, 1, [&](const unillm_product& one, long first, long last, int thread) {
      const DenseProduct product = describe(one, from, x_bytes);
      context.kernels.multiply_dense(one.kind, kind, product, first, last, context.scratch(thread).sums);
    });
  }
};

}  // namespace
}  // namespace unillm

void unillm_dense(unillm_context* context, const unillm_multiplication* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::DenseCall call{*context, {from->x, from->x_kind, static_cast<long>(from->x_stride), static_cast<long>(from->depth)},
                         static_cast<long>(from->rows), from->x_kind};
  const auto kind_of = [&](const unillm_product& product) {
    return context->kernels.dense_kind(product.kind, from->exact != 0);
  };
  for (int32_t first = 0; first < from->count;) {
    const int kind = kind_of(from->products[first]);
    int32_t last = first + 1;
    while (last < from->count && kind_of(from->products[last]) == kind) ++last;
    call.multiply(from->products + first, last - first, kind);
    first = last;
  }
}
