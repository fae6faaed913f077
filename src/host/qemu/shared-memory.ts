/**
 * Memory that clones share and nobody can change: a memory file of the kernel's (memfd), filled once, then
 * sealed. QEMU opens a clone's memory for writing even where it only copies, so that a file's mode could not
 * protect it from a QEMU that was taken over; a seal does.
 *
 *   make ─▶ fill (a template boots in it, or a saved one is read into it) ─▶ seal ─▶ clones map it privately
 *
 * It lives as long as this server or a clone holds it. The program in guest/host makes and seals it, because
 * Node has no call for either.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, type FileHandle } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { BerthError } from '../../instance/errors.ts'
import { TOOL_ENVIRONMENT } from '../command.ts'

/** How /proc/<pid>/maps calls it. */
export const SHARED_MEMORY_NAME = '/memfd:berth-template'
/** Making and sealing take the kernel microseconds. */
const ANSWER_TIMEOUT_MS = 20_000

export class SharedMemory {
  readonly bytes: number
  readonly file: FileHandle
  readonly #seal: () => Promise<void>
  readonly #release: () => void

  private constructor(bytes: number, file: FileHandle, seal: () => Promise<void>, release: () => void) {
    this.bytes = bytes
    this.file = file
    this.#seal = seal
    this.#release = release
  }

  /** Empty memory that can be written. */
  static async make(tool: string, bytes: number): Promise<SharedMemory> {
    const child = spawn(tool, [String(bytes)], { cwd: '/', env: TOOL_ENVIRONMENT, stdio: ['pipe', 'pipe', 'ignore'] })
    // Without a descriptor left it has no streams: what follows throws then, and its error must not end the server.
    child.on('error', () => undefined)
    const timer = setTimeout(() => child.kill('SIGKILL'), ANSWER_TIMEOUT_MS)
    const failed = new Promise<never>((_, reject) => {
      child.once('error', (cause) => reject(new BerthError('host_unavailable', `${tool} can't be started: ${cause.message}.`, { cause })))
      child.once('close', () => reject(new BerthError('host_unavailable', 'The kernel gave no memory file for a template.')))
    })
    failed.catch(() => undefined) // whoever waits races with it
    child.stdin.on('error', () => undefined) // it ended: told by `failed`
    const lines = createInterface({ input: child.stdout })
    const answer = async (): Promise<string> => String((await Promise.race([once(lines, 'line'), failed]))[0])
    const release = (): void => {
      clearTimeout(timer)
      child.stdin.end()
      lines.close()
    }
    try {
      const descriptor = Number(await answer())
      const file = await open(`/proc/${child.pid}/fd/${descriptor}`, 'r+')
      clearTimeout(timer)
      const seal = async (): Promise<void> => {
        const sealed = answer()
        child.stdin.write('\n')
        await sealed
      }
      return new SharedMemory(bytes, file, seal, release)
    } catch (error) {
      release()
      throw error
    }
  }

  /** From now on nobody can write it, this server included. Whoever mapped it for writing must have ended. */
  async seal(): Promise<void> {
    await this.#seal()
    this.#release()
  }

  /** Lets go of it; clones keep theirs. */
  async close(): Promise<void> {
    this.#release()
    await this.file.close()
  }
}
