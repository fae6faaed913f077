/** From counters to rates. Pure. */
import type { Stats } from '../api/types.ts'

export interface Rates {
  /** Unix seconds. */
  readonly at: number
  /** Of all of its CPUs, 0-1. */
  readonly cpu: number
  readonly memoryBytes: number
  readonly rxPerSecond: number
  readonly txPerSecond: number
  readonly readPerSecond: number
  readonly writePerSecond: number
}

/** Two samples further apart than this have a gap between them. */
const GAP_MS = 120_000

export function ratesOf(samples: readonly Stats[], vcpus: number): readonly Rates[] {
  const rates: Rates[] = []
  for (let index = 1; index < samples.length; index++) {
    const before = samples[index - 1]
    const now = samples[index]
    if (before === undefined || now === undefined) continue
    const ms = Date.parse(now.at) - Date.parse(before.at)
    // A new life of the VM counts from zero.
    if (ms <= 0 || ms > GAP_MS || now.cpuSeconds < before.cpuSeconds) continue
    const per = (figure: 'networkRxBytes' | 'networkTxBytes' | 'diskReadBytes' | 'diskWriteBytes') => Math.max(0, ((now[figure] - before[figure]) * 1000) / ms)
    rates.push({
      at: Date.parse(now.at) / 1000,
      cpu: Math.min(1, ((now.cpuSeconds - before.cpuSeconds) * 1000) / ms / vcpus),
      memoryBytes: memoryOf(now),
      rxPerSecond: per('networkRxBytes'),
      txPerSecond: per('networkTxBytes'),
      readPerSecond: per('diskReadBytes'),
      writePerSecond: per('diskWriteBytes'),
    })
  }
  return rates
}

/** What its own kernel says it uses; from outside where that does not answer. */
export function memoryOf({ guest, memoryRssBytes }: Stats): number {
  return guest === null ? memoryRssBytes : guest.memoryTotalBytes - guest.memoryAvailableBytes
}
