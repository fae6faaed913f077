/** The record of what Berth did with an instance, a line each: `2026-01-01T00:00:00.000Z text`. */
import { appendFile } from 'node:fs/promises'
import { rotateAway } from './log-file.ts'

const SERVER_LOG_LIMIT_BYTES = 1024 * 1024

/** Writes a line. A log that can't be written (its instance was removed, the disk is full or broken) stops nothing. */
export async function note(path: string, text: string): Promise<void> {
  try {
    await appendFile(path, `${new Date().toISOString()} ${text.replaceAll('\n', ' ')}\n`, { mode: 0o600 })
    await rotateAway(path, SERVER_LOG_LIMIT_BYTES)
  } catch {
    // What happened to an instance goes on whether or not it can be told here.
  }
}
