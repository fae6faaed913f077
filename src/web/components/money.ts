/** Micro-dollars as a person reads them. Pure. */

/** What four digits can't show. */
const SHOWN_MICROS = 50

/** A price an hour, with as many digits in every line of a table: $0.0036, $0.0100, $1.2900. */
export function formatPrice(micros: number): string {
  return `$${(micros / 1e6).toFixed(4)}`
}

/** $0.0036, $1.25, $12.50. */
export function formatMoney(micros: number): string {
  if (micros > 0 && micros < SHOWN_MICROS) return '< $0.0001'
  const dollars = micros / 1e6
  const digits = micros % 10_000 === 0 || Math.abs(dollars) >= 10 ? 2 : 4
  return `${dollars < 0 ? '−' : ''}$${Math.abs(dollars).toFixed(digits)}`
}
