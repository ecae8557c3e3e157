// The products of a layer: what is quantised once, who computes which tiles, how much stays in a cache.
#include "context.h"
#include "products.h"

namespace unillm {
namespace {

bool same(const ActivationForm& a, const ActivationForm& b) {
  if (a.exact || b.exact) return a.exact == b.exact;
  return a.per16 == b.per16 && a.shifted == b.shifted && a.offset == b.offset;
}

struct Call {
  unillm_context& context;
  NumberRows x;
  long rows;

  // The activations as `form` wants them. Few are quantised by the caller alone: cheaper than waking the others.
  const uint8_t* prepare(const ActivationForm& form) {
    uint8_t* panels = context.activations.at_least(static_cast<size_t>(rows * activation_bytes(x.columns, form)));
    share_rows(context.pool, rows, x.columns, [&](long first, long last) {
      if (form.exact) {
        context.kernels.spread(x, first, last, reinterpret_cast<float*>(panels));
      } else {
        context.kernels.quantize(x, form, first, last, panels);
      }
    });
    return panels;
  }

  TileProduct describe(const unillm_product& product, const ActivationForm& form, const uint8_t* panels) const {
    const BlockLayout& layout = *block_layout(product.kind);
    return {static_cast<const uint8_t*>(product.weight), tile_stride(layout, x.columns), layout.head_bytes,
            blocks_of(x.columns), panels, form, rows, rows_at_once(rows, activation_bytes(x.columns, form)),
            product.y, product.y_stride, product.columns, product.accumulate != 0};
  }

  // Products that share one form of the activations, as one job.
  void multiply(const unillm_product* products, int count, const ActivationForm& form) {
    const uint8_t* panels = prepare(form);
    const long together = rows > 4 ? 2 : 1;
    share_tiles(context.pool, products, count, together, [&](const unillm_product& one, long first, long last, int thread) {
      const auto run = form.exact ? context.kernels.multiply_exact : context.kernels.multiply;
      run(one.kind, describe(one, form, panels), first, last, context.scratch(thread));
    });
  }

  // The first product through its gate, and times the second.
  void multiply_gated(const unillm_product* products, const ActivationForm& form) {
    const uint8_t* panels = prepare(form);
    share_tiles(context.pool, products, 1, 1, [&](const unillm_product& one, long first, long last, int thread) {
      TileProduct product = describe(one, form, panels);
      product.gated = static_cast<const uint8_t*>(products[1].weight);
      context.kernels.multiply(one.kind, product, first, last, context.scratch(thread));
    });
  }
};

}  // namespace
}  // namespace unillm

void unillm_matmul(unillm_context* context, const unillm_multiplication* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::Call call{*context, {from->x, from->x_kind, static_cast<long>(from->x_stride), static_cast<long>(from->depth)},
                    static_cast<long>(from->rows)};
  if (from->gated) return call.multiply_gated(from->products, context->kernels.form(from->products[0].kind));
  const auto form_of = [&](int32_t product) {
    unillm::ActivationForm form = context->kernels.form(from->products[product].kind);
    form.exact = form.exact || from->exact != 0;
    return form;
  };
  for (int32_t first = 0; first < from->count;) {
    const unillm::ActivationForm form = form_of(first);
    int32_t last = first + 1;
    while (last < from->count && unillm::same(form, form_of(last))) ++last;
    call.multiply(from->products + first, last - first, form);
    first = last;
  }
}
