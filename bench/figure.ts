/** A figure: the same work timed again and again, told as minimum, median, 95th percentile. Pure but for the clock. */

export interface Figure {
  readonly unit: 'ms' | 'MB/s' | 'MB' | 'KB' | '%' | 'req/s'
  readonly p50: number
  readonly p95: number
  readonly min: number
  readonly n: number
}

/** Of one sample at least. */
export function figureOf(unit: Figure['unit'], samples: readonly number[]): Figure {
  const sorted = samples.toSorted((a, b) => a - b)
  return { unit, p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), min: round(sorted[0] ?? Number.NaN), n: sorted.length }
}

/** Milliseconds that the work took. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

function quantile(sorted: readonly number[], part: number): number {
  const at = (sorted.length - 1) * part
  const [low, high] = [sorted[Math.floor(at)] ?? Number.NaN, sorted[Math.ceil(at)] ?? Number.NaN]
  return round(low + (high - low) * (at - Math.floor(at)))
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
