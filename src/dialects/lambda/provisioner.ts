/**
 * What a launch still has to do once its instance runs: put the SSH key where it belongs, then run the user data.
 *
 *   record ─▶ (instance is created) ─▶ begin ─▶ runs? ─▶ keys in ─▶ user data started ─▶ ended: record removed
 *
 * A record is a file, because it may hold a megabyte of user data and must outlive the server; the instance names it
 * in an annotation. Policy: until the key is in, the instance counts as booting. User data runs at most once, so that
 * it is marked before it starts: a server that dies meanwhile does not run it again.
 * Failure: a key that can't be put in after some attempts is told in the log, and the instance is active without it.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync } from 'node:fs'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Caller, Engine } from '../../engine/api.ts'
import { asBerthError, isRetrySane } from '../../instance/errors.ts'
import type { Instance, ProjectId } from '../../instance/model.ts'
import { SCOPES } from '../../instance/model.ts'
import { LAMBDA } from './annotation.ts'
import { installKeys, runUserData } from './guest.ts'

const RECORD = /^([0-9a-f]{32})\.json$/
/** One wait for the instance; as many as it takes follow each other. */
const WAIT_MS = 3_600_000
const KEY_ATTEMPTS = 10
const KEY_PAUSE_MS = 1000

export interface NewLaunch {
  readonly projectId: ProjectId
  readonly publicKeys: readonly string[]
  readonly userData: string | null
}

interface LaunchRecord extends NewLaunch {
  readonly step: 'recorded' | 'keys-in' | 'user-data-started'
}

export interface ProvisionerParts {
  readonly engine: Engine
  /** A directory of its own. */
  readonly dir: string
  readonly stopping: AbortSignal
  readonly log: {
    info(details: object, message: string): void
    warn(details: object, message: string): void
  }
}

export class Provisioner {
  readonly #parts: ProvisionerParts
  /** Launches whose key is not in yet. */
  readonly #pending = new Set<string>()
  readonly #working = new Set<string>()

  constructor(parts: ProvisionerParts) {
    this.#parts = parts
    mkdirSync(parts.dir, { recursive: true, mode: 0o700 })
  }

  /** Goes on with what an earlier server left. */
  resume(): void {
    for (const file of readdirSync(this.#parts.dir)) {
      const launch = RECORD.exec(file)?.[1]
      if (launch !== undefined) this.begin(launch)
    }
  }

  /** Keeps what a launch needs; the answer is the name of the record. */
  async record(launch: NewLaunch): Promise<string> {
    const name = randomBytes(16).toString('hex')
    await this.#write(name, { ...launch, step: 'recorded' })
    this.#pending.add(name)
    return name
  }

  /** Starts to work on a recorded launch, unless that is being done. */
  begin(launch: string): void {
    if (this.#working.has(launch)) return
    this.#working.add(launch)
    this.#work(launch)
      .catch((error: unknown) => {
        if (!this.#parts.stopping.aborted) this.#parts.log.warn({ err: error, launch }, 'a launch could not be finished in its guest')
      })
      .finally(() => this.#working.delete(launch))
  }

  /** Tries again what an instance of this dialect may still lack. */
  beginFor(instance: Instance): void {
    const launch = instance.annotations[LAMBDA.launch]
    if (launch !== undefined && this.#pending.has(launch)) this.begin(launch)
  }

  async forget(launch: string): Promise<void> {
    this.#pending.delete(launch)
    await rm(this.#path(launch), { force: true })
  }

  isPending(instance: Instance): boolean {
    const launch = instance.annotations[LAMBDA.launch]
    return launch !== undefined && this.#pending.has(launch)
  }

  async #work(launch: string): Promise<void> {
    const record = await this.#read(launch)
    if (record === null) return
    if (record.step === 'user-data-started') {
      this.#parts.log.warn({ launch }, 'user data was running when the server ended; it is not run again')
      return this.forget(launch)
    }
    if (record.step === 'recorded') this.#pending.add(launch)
    const caller: Caller = { projectId: record.projectId, keyId: null, scopes: SCOPES, via: 'lambda' }
    const instance = await this.#untilRunning(caller, launch)
    if (instance === 'gone') return this.forget(launch)
    // It failed or was stopped: a restart begins again.
    if (instance === 'not running') return
    if (record.step === 'recorded') {
      await this.#putKeysIn(caller, instance, record)
      if (record.userData !== null) await this.#rewrite(launch, { ...record, step: 'keys-in' })
      this.#pending.delete(launch)
    }
    if (record.userData !== null) {
      if (!(await this.#rewrite(launch, { ...record, userData: null, step: 'user-data-started' }))) return
      const exitCode = await runUserData(this.#parts.engine, caller, instance.id, record.userData)
      this.#parts.log.info({ instanceId: instance.id, exitCode }, 'user data has ended')
    }
    await this.forget(launch)
  }

  async #untilRunning(caller: Caller, launch: string): Promise<Instance | 'gone' | 'not running'> {
    const { engine, stopping } = this.#parts
    const [found] = await engine.instances.list(caller, { annotations: { [LAMBDA.launch]: launch }, limit: 1 })
    if (found === undefined) return 'gone'
    for (;;) {
      const { instance, timedOut } = await engine.instances.wait(caller, found.id, { until: ['running'], timeoutMs: WAIT_MS, signal: stopping })
      if (instance.phase === 'running') return instance
      if (instance.phase === 'deleted' || instance.phase === 'deleting') return 'gone'
      if (!timedOut || stopping.aborted) return 'not running'
    }
  }

  async #putKeysIn(caller: Caller, instance: Instance, record: LaunchRecord): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await installKeys(this.#parts.engine, caller, instance.id, record.publicKeys)
      } catch (error) {
        this.#parts.stopping.throwIfAborted()
        if (attempt < KEY_ATTEMPTS && isRetrySane(asBerthError(error))) {
          await sleep(KEY_PAUSE_MS, undefined, { signal: this.#parts.stopping })
          continue
        }
        this.#parts.log.warn({ err: error, instanceId: instance.id }, 'the SSH key of a launch could not be put into its guest')
        return
      }
    }
  }

  async #read(launch: string): Promise<LaunchRecord | null> {
    try {
      return JSON.parse(await readFile(this.#path(launch), 'utf8')) as LaunchRecord
    } catch (error) {
      // It was forgotten meanwhile.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
      throw error
    }
  }

  /** false if it was forgotten meanwhile, because its instance is being deleted. */
  async #rewrite(launch: string, record: LaunchRecord): Promise<boolean> {
    if ((await this.#read(launch)) === null) return false
    await this.#write(launch, record)
    return true
  }

  async #write(launch: string, record: LaunchRecord): Promise<void> {
    const path = this.#path(launch)
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600, flush: true })
    await rename(`${path}.new`, path)
  }

  #path(launch: string): string {
    if (!/^[0-9a-f]{32}$/.test(launch)) throw new RangeError(`${launch} is not the name of a launch record.`)
    return join(this.#parts.dir, `${launch}.json`)
  }
}
