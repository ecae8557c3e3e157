// Functions of sixteen numbers, to about one unit in the last place.

namespace unillm::UNILLM_ISA {

// e^a; zero below -103.
inline Floats exponential(Floats a) {
  const Floats bounded = larger(smaller(a, broadcast(88.7f)), broadcast(-120.0f));
  const Floats power = nearest(multiply(bounded, broadcast(1.44269504f)));
  // The rest, |rest| <= ln 2 / 2: ln 2 in two parts, the first short enough for an exact product.
  Floats rest = multiply_add(power, broadcast(-0.693359375f), bounded);
  rest = multiply_add(power, broadcast(2.12194440e-4f), rest);
  Floats sum = broadcast(1.3981999507e-3f);
  sum = multiply_add(sum, rest, broadcast(8.3334519073e-3f));
  sum = multiply_add(sum, rest, broadcast(4.1665795894e-2f));
  sum = multiply_add(sum, rest, broadcast(1.6666665459e-1f));
  sum = multiply_add(sum, rest, broadcast(0.5f));
  sum = multiply_add(sum, multiply(rest, rest), rest);
  return scale_by_power(add(sum, broadcast(1.0f)), power);
}

inline Floats hyperbolic_tangent(Floats a) {
  const Floats power = exponential(add(a, a));
  return subtract(broadcast(1.0f), divide(broadcast(2.0f), add(power, broadcast(1.0f))));
}

// ln(1 + e^a): with s = e^-|a| / (2 + e^-|a|), at most 1/3, the logarithm is 2 artanh(s).
inline Floats softplus(Floats a) {
  const Floats power = exponential(subtract(zero(), absolute(a)));
  const Floats s = divide(power, add(power, broadcast(2.0f))), square = multiply(s, s);
  Floats sum = broadcast(2.0f / 15.0f);
  sum = multiply_add(sum, square, broadcast(2.0f / 13.0f));
  sum = multiply_add(sum, square, broadcast(2.0f / 11.0f));
  sum = multiply_add(sum, square, broadcast(2.0f / 9.0f));
  sum = multiply_add(sum, square, broadcast(2.0f / 7.0f));
  sum = multiply_add(sum, square, broadcast(2.0f / 5.0f));
  sum = multiply_add(sum, square, broadcast(2.0f / 3.0f));
  sum = multiply_add(sum, square, broadcast(2.0f));
  return multiply_add(sum, s, larger(a, zero()));
}

inline Floats sigmoid(Floats a) {
  return divide(broadcast(1.0f), add(broadcast(1.0f), exponential(subtract(zero(), a))));
}

}  // namespace unillm::UNILLM_ISA
