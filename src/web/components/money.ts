/** Micro-dollars as a person reads them. Pure. */

/** What four digits can't show. */
const SHOWN_MICROS = 50

/** $0.0036 an hour, $1.25, $12.50. */
export function formatMoney(micros: number): string {
  if (micros > 0 && micros < SHOWN_MICROS) return '< $0.0001'
  const dollars = micros / 1e6
  const digits = micros % 10_000 === 0 || Math.abs(dollars) >= 10 ? 2 : 4
  return `${dollars < 0 ? '−' : ''}$${Math.abs(dollars).toFixed(digits)}`
}
