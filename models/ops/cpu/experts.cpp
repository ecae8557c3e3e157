// Products with the matrices of several experts, of which every row has chosen a few: rows are put together by expert, so
// that a weight is read once however many rows chose it, and all experts are one job.
#include <cstring>

#include "context.h"
#include "products.h"

namespace unillm {
namespace {

// Where each expert's rows begin once they are put together, and which place each choice has there.
struct Order {
  std::vector<long> starts, place;
  Order(const int64_t* chosen, long choices, int experts)
      : starts(static_cast<size_t>(experts) + 1), place(static_cast<size_t>(choices)) {
    for (long i = 0; i < choices; ++i) ++starts[static_cast<size_t>(chosen[i]) + 1];
    for (size_t e = 1; e < starts.size(); ++e) starts[e] += starts[e - 1];
    std::vector<long> next(starts.begin(), starts.end() - 1);
    for (long i = 0; i < choices; ++i) place[static_cast<size_t>(i)] = next[static_cast<size_t>(chosen[i])]++;
  }
};

// A piece of the work: some rows, or some tiles, of one expert.
struct Piece {
  long expert, first, last;
};

struct Experts {
  unillm_context& context;
  const unillm_experts_product& from;
  Order order;
  ActivationForm form;
  long choices, row_bytes;
  uint8_t* gathered;
  uint8_t* panels;
  float* products;

  Experts(unillm_context& context, const unillm_experts_product& from)
      : context(context), from(from),
        order(from.chosen, static_cast<long>(from.rows * from.choices), from.experts),
        form(context.kernels.form(from.kind)), choices(static_cast<long>(from.rows * from.choices)),
        row_bytes(0) {
    form.exact = form.exact || from.exact != 0;
    row_bytes = activation_bytes(static_cast<long>(from.depth), form);
    const long stored = (number_size() * static_cast<long>(from.depth) + 63) / 64 * 64;
    const long panel_bytes = (choices * row_bytes + 63) / 64 * 64;
    gathered = context.activations.at_least(static_cast<size_t>(choices * stored + panel_bytes) +
                                            static_cast<size_t>(choices * from.columns) * sizeof(float));
    panels = gathered + choices * stored;
    products = reinterpret_cast<float*>(panels + panel_bytes);
  }

  long number_size() const { return from.x_kind == UNILLM_F32 ? 4 : 2; }
  long gathered_stride() const { return (number_size() * static_cast<long>(from.depth) + 63) / 64 * 64 / number_size(); }

  template <class ADD>
  void for_experts(ADD add) const {
    for (long e = 0; e < from.experts; ++e) {
      const long rows = order.starts[static_cast<size_t>(e) + 1] - order.starts[static_cast<size_t>(e)];
      if (rows) add(e, rows);
    }
  }

  void gather() {
    const long bytes = number_size() * static_cast<long>(from.depth), stride = gathered_stride() * number_size();
    for (long i = 0; i < choices; ++i) {
      const auto* row = static_cast<const uint8_t*>(from.x) + i / from.choices * from.x_stride * number_size();
      std::memcpy(gathered + order.place[static_cast<size_t>(i)] * stride, row, static_cast<size_t>(bytes));
    }
  }

  // A panel never holds rows of two experts.
  void prepare() {
    std::vector<Piece> pieces;
    for_experts([&](long e, long rows) {
      for (long row = 0; row < rows; row += 16) pieces.push_back({e, row, std::min(rows, row + 16)});
    });
    auto work = [&](long item, int) {
      const Piece& piece = pieces[static_cast<size_t>(item)];
      const long start = order.starts[static_cast<size_t>(piece.expert)];
      const NumberRows rows{gathered + start * gathered_stride() * number_size(), from.x_kind, gathered_stride(),
                            static_cast<long>(from.depth)};
      uint8_t* to = panels + start * row_bytes;
      if (form.exact) {
        context.kernels.spread(rows, piece.first, piece.last, reinterpret_cast<float*>(to));
      } else {
        context.kernels.quantize(rows, form, piece.first, piece.last, to);
      }
    };
    context.pool.run(static_cast<long>(pieces.size()), work);
  }

  TileProduct describe(long expert) const {
    const BlockLayout& layout = *block_layout(from.kind);
    const long start = order.starts[static_cast<size_t>(expert)];
    const long rows = order.starts[static_cast<size_t>(expert) + 1] - start, columns = static_cast<long>(from.columns);
    const long stride = tile_stride(layout, static_cast<long>(from.depth));
    const auto* weight = static_cast<const uint8_t*>(from.weights) + expert * tiles_of(columns) * stride;
    return {weight, stride, layout.head_bytes, blocks_of(static_cast<long>(from.depth)), panels + start * row_bytes, form,
            rows, rows_at_once(rows, row_bytes), products + start * columns, columns, columns, false};
  }

  void multiply() {
    const long tiles = tiles_of(static_cast<long>(from.columns));
    const long chunk = std::max(2L, tiles / (context.pool.threads() * 2) / 2 * 2);
    std::vector<Piece> pieces;
    for_experts([&](long e, long) {
      for (long tile = 0; tile < tiles; tile += chunk) pieces.push_back({e, tile, std::min(tiles, tile + chunk)});
    });
    auto work = [&](long item, int thread) {
      const Piece& piece = pieces[static_cast<size_t>(item)];
      const auto run = form.exact ? context.kernels.multiply_exact : context.kernels.multiply;
      run(from.kind, describe(piece.expert), piece.first, piece.last, context.scratch(thread));
    };
    context.pool.run(static_cast<long>(pieces.size()), work);
  }

  void scatter() {
    const long columns = static_cast<long>(from.columns);
    for (long i = 0; i < choices; ++i) {
      std::memcpy(from.y + i * from.y_stride, products + order.place[static_cast<size_t>(i)] * columns,
                  static_cast<size_t>(columns) * sizeof(float));
    }
  }
};

}  // namespace
}  // namespace unillm

void unillm_experts(unillm_context* context, const unillm_experts_product* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::Experts experts(*context, *from);
  experts.gather();
  experts.prepare();
  experts.multiply();
  experts.scatter();
}
