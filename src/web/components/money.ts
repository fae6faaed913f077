/** Micro-dollars as a person reads them. Pure. */

/** $0.0036 an hour, $1.25, $12.50. */
export function formatMoney(micros: number): string {
  const dollars = micros / 1e6
  const digits = micros % 10_000 === 0 || Math.abs(dollars) >= 10 ? 2 : 4
  return `${dollars < 0 ? '−' : ''}$${Math.abs(dollars).toFixed(digits)}`
}
