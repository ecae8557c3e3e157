// The products of a layer: what is quantised once, who computes which tiles, how much stays in a cache.
#include "context.h"
#include "products.h"

namespace unillm {
namespace {

bool same(const ActivationForm& a, const ActivationForm& b) {
  return a.per16 == b.per16 && a.shifted == b.shifted && a.offset == b.offset;
}

struct Call {
  unillm_context& context;
  NumberRows x;
  long rows;
  bool exact;

  // The activations as `form` wants them. Few are quantised by the caller alone: cheaper than waking the others.
  const uint8_t* prepare(const ActivationForm& form) {
    const long blocks = blocks_of(x.columns);
    const size_t bytes = static_cast<size_t>(rows * blocks) * (exact ? block_columns * sizeof(float) : form.row_bytes);
    uint8_t* panels = context.activations.at_least(bytes);
    const long share = rows * x.columns < 32768 ? rows : 16;
    auto work = [&](long item, int) {
      const long first = item * share, last = std::min(rows, first + share);
      if (exact) {
        context.kernels.spread(x, first, last, reinterpret_cast<float*>(panels));
      } else {
        context.kernels.quantize(x, form, first, last, panels);
      }
    };
    context.pool.run((rows + share - 1) / share, work);
    return panels;
  }

  TileProduct describe(const unillm_product& product, const ActivationForm& form, const uint8_t* panels) const {
    const BlockLayout& layout = *block_layout(product.kind);
    const long blocks = blocks_of(x.columns), head = layout.head_bytes;
    const long row_bytes = blocks * (exact ? block_columns * static_cast<long>(sizeof(float)) : form.row_bytes);
    const long stride = head + blocks * block_columns / layout.columns * layout.tile_bytes();
    return {static_cast<const uint8_t*>(product.weight), stride, layout.head_bytes, blocks, panels, form, rows,
            rows_at_once(rows, row_bytes), product.y, product.y_stride, product.columns, product.accumulate != 0};
  }

  // Products that share one form of the activations, as one job.
  void multiply(const unillm_product* products, int count, const ActivationForm& form) {
    const uint8_t* panels = prepare(form);
    long tiles = 0;
    for (int i = 0; i < count; ++i) tiles += tiles_of(products[i].columns);
    const long even = tiles / (context.pool.threads() * chunks_per_thread) / 2 * 2;
    const long chunk = std::max(rows > 4 ? 2L : 1L, even);
    auto work = [&](long item, int thread) {
      long first = item * chunk, last = std::min(tiles, first + chunk);
      for (int i = 0; i < count && first < last; ++i) {
        const long own = tiles_of(products[i].columns);
        if (first < own) {
          const TileProduct product = describe(products[i], form, panels);
          const auto run = exact ? context.kernels.multiply_exact : context.kernels.multiply;
          run(products[i].kind, product, first, std::min(own, last), context.scratch(thread));
        }
        first = std::max(0L, first - own);
        last -= own;
      }
    };
    context.pool.run((tiles + chunk - 1) / chunk, work);
  }
};

}  // namespace
}  // namespace unillm

void unillm_matmul(unillm_context* context, const unillm_multiplication* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const bool exact = from->exact != 0;
  unillm::Call call{*context, {from->x, from->x_kind, static_cast<long>(from->x_stride), static_cast<long>(from->depth)},
                    static_cast<long>(from->rows), exact};
  for (int32_t first = 0; first < from->count;) {
    const unillm::ActivationForm form = context->kernels.form(from->products[first].kind);
    int32_t last = first + 1;
    while (last < from->count && (exact || unillm::same(form, context->kernels.form(from->products[last].kind)))) ++last;
    call.multiply(from->products + first, last - first, form);
    first = last;
  }
}
