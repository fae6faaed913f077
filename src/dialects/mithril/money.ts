/**
 * Money on the Mithril wire: orders carry text with a dollar sign (`"$25.60"`), histories whole cents. A price is per
 * instance and hour, never per GPU.
 */

/** A million dollars: no price is higher. */
const LIMIT_CENTS = 100_000_000
const PRICE = /^\s*\$?\s*(\d{1,9})(?:\.(\d{1,4}))?\s*$/

/** Whole cents, or null if it is no price of whole cents. Clients send `"$32.00"`; one without the sign is one too. */
export function parseMoney(text: string): number | null {
  const match = PRICE.exec(text)
  if (match === null) return null
  const [, dollars = '0', fraction = ''] = match
  const digits = fraction.padEnd(4, '0')
  if (!digits.endsWith('00')) return null
  const cents = Number(dollars) * 100 + Number(digits.slice(0, 2))
  return cents <= LIMIT_CENTS ? cents : null
}

/** `"$25.60"` */
export function formatMoney(cents: number): string {
  const sign = cents < 0 ? '-' : ''
  const whole = Math.abs(Math.round(cents))
  return `${sign}$${Math.floor(whole / 100)}.${String(whole % 100).padStart(2, '0')}`
}
