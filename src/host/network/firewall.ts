/**
 * The rules of one bridge in the kernel: holds which guests are known, and tells nft about changes.
 *
 * Invariants: the kernel is the truth when a server starts (`load`), memory from then on. Changes that
 * come together go in one transaction, in order. If a change fails because somebody else touched our
 * tables (`nft flush ruleset` is a common one), everything is written anew from memory.
 */
import { isDeepStrictEqual } from 'node:util'
import { BerthError } from '../../instance/errors.ts'
import { CommandFailed, runCommand } from '../command.ts'
import { ReadyTool } from '../ready-tool.ts'
import type { Allowed } from './allowed.ts'
import { addGuest, fullRuleset, removeGuest, removeTables } from './ruleset.ts'
import type { BridgeConfig, GuestRules } from './ruleset.ts'
import { readGuests } from './ruleset-state.ts'

/** Group numbers are 31 bits, so that a collision of hashes is rare, and settled when it happens. */
const MAX_GROUP_MARK = 0x7fffffff

export class Firewall {
  readonly #config: BridgeConfig
  readonly #guests = new Map<string, GuestRules>()
  /** Changes not yet told to the kernel, and those who wait for them. */
  #pending: { text: string; done: (error: unknown) => void }[] = []
  #writing: Promise<void> | null = null

  constructor(config: BridgeConfig) {
    this.#config = config
  }

  guest(tap: string): GuestRules | undefined {
    return this.#guests.get(tap)
  }

  taps(): string[] {
    return [...this.#guests.keys()]
  }

  /** Takes over what is in the kernel, then writes the tables of this version around it. */
  async install(): Promise<void> {
    const [bridgeTable, ipTable] = await Promise.all([this.#list('bridge'), this.#list('ip')])
    for (const guest of readGuests(bridgeTable, ipTable)) {
      if (!this.#guests.has(guest.tap)) this.#guests.set(guest.tap, guest)
    }
    await nft(fullRuleset(this.#config, this.#guests.values()))
  }

  /** Whether both tables are in the kernel. */
  async installed(): Promise<boolean> {
    const [bridgeTable, ipTable] = await Promise.all([this.#list('bridge'), this.#list('ip')])
    return bridgeTable !== null && ipTable !== null
  }

  /** Adds a guest or replaces what is known of it. Throws `port_in_use` if another guest has one of its ports. */
  async put(guest: Omit<GuestRules, 'group'>, groupKey: string | null): Promise<void> {
    const before = this.#guests.get(guest.tap)
    this.#checkPorts(guest)
    const after: GuestRules = { ...guest, group: groupKey === null ? null : { key: groupKey, mark: this.#markOf(groupKey) } }
    if (isDeepStrictEqual(before, after)) return
    this.#guests.set(guest.tap, after)
    const changes = before === undefined ? [addGuest(this.#config, after)] : [removeGuest(this.#config, before), addGuest(this.#config, after)]
    await this.#apply(changes.join('\n'))
  }

  /** Replaces what may reach a guest, in one transaction; one that isn't known is left. */
  async setAllowed(tap: string, allowed: Allowed | null): Promise<void> {
    const before = this.#guests.get(tap)
    if (before === undefined) return
    const { group, ...guest } = before
    await this.put({ ...guest, allowed }, group?.key ?? null)
  }

  /** Replaces the ports that lead to a guest, in one transaction; one that isn't known is left. Throws `port_in_use`. */
  async setPorts(tap: string, ports: GuestRules['ports']): Promise<void> {
    const before = this.#guests.get(tap)
    if (before === undefined) return
    const { group, ...guest } = before
    await this.put({ ...guest, ports }, group?.key ?? null)
  }

  /** Forgets guests; those not known are skipped. */
  async remove(taps: readonly string[]): Promise<void> {
    const gone = taps.flatMap((tap) => this.#guests.get(tap) ?? [])
    if (gone.length === 0) return
    for (const guest of gone) this.#guests.delete(guest.tap)
    await this.#apply(gone.map((guest) => removeGuest(this.#config, guest)).join('\n'))
  }

  /** Removes both tables and forgets all. */
  async uninstall(): Promise<void> {
    this.#guests.clear()
    await this.#writing
    await nft(removeTables(this.#config, 'add'))
  }

  #apply(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ text, done: (error) => (error === null ? resolve() : reject(error)) })
      this.#writing ??= this.#write().finally(() => {
        this.#writing = null
      })
    })
  }

  async #write(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch = this.#pending
      this.#pending = []
      let failure: unknown = null
      try {
        await nft(batch.map(({ text }) => text).join('\n'))
      } catch (error) {
        failure = error instanceof CommandFailed ? await this.#rewrite() : error
      }
      for (const { done } of batch) done(failure)
    }
  }

  /** All of it anew from memory, which already has the changes; gives the error if even that fails. */
  async #rewrite(): Promise<unknown> {
    try {
      await nft(fullRuleset(this.#config, this.#guests.values()))
      return null
    } catch (error) {
      return error
    }
  }

  #checkPorts(guest: Omit<GuestRules, 'group'>): void {
    for (const port of guest.ports) {
      for (const other of this.#guests.values()) {
        if (other.tap === guest.tap) continue
        if (other.ports.some((held) => held.hostPort === port.hostPort && held.protocol === port.protocol)) {
          throw new BerthError('port_in_use', `Port ${port.hostPort}/${port.protocol} of the host is published by another instance; choose another.`, {
            details: { port: port.hostPort, protocol: port.protocol },
          })
        }
      }
    }
  }

  /** The number of a group: the one it has, else one that no other group has. */
  #markOf(key: string): number {
    const taken = new Set<number>()
    for (const { group } of this.#guests.values()) {
      if (group?.key === key) return group.mark
      if (group !== null) taken.add(group.mark)
    }
    let mark = Number.parseInt(key.slice(0, 8), 16) % MAX_GROUP_MARK
    while (mark === 0 || taken.has(mark)) mark = (mark + 1) % MAX_GROUP_MARK
    return mark
  }

  async #list(family: 'bridge' | 'ip'): Promise<string | null> {
    try {
      return await runCommand('nft', ['-j', 'list', 'table', family, this.#config.bridge])
    } catch (error) {
      if (error instanceof CommandFailed && /no such file or directory/i.test(error.stderr)) return null
      throw error
    }
  }
}

const tool = new ReadyTool('nft', ['-f', '-'])

/** One transaction: all of it or nothing. */
async function nft(text: string): Promise<void> {
  await tool.run(`${text}\n`)
}
