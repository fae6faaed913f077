/** Times with microseconds, in the two forms that were recorded from the original. */

/** `2025-11-13T19:45:33.104000+00:00` */
export function timestamp(ms: number): string {
  return `${withMicros(ms)}+00:00`
}

/** `2025-09-15T10:30:45.123456Z` */
export function zuluTimestamp(ms: number): string {
  return `${withMicros(ms)}Z`
}

function withMicros(ms: number): string {
  const whole = Math.floor(ms)
  const micros = Math.floor((ms - whole) * 1000)
  return `${new Date(whole).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}`
}
