/**
 * What only this wire knows and the engine doesn't keep, in one small file of the dialect's own: which SSH keys are
 * required in every order, how the secrets of API keys begin, and which projects have
 * placed bids here. Losing it loses nothing that runs.
 *
 * Invariant: what `update` returned from is on the disk.
 */
import { readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ProjectId } from '../../instance/model.ts'

interface Notes {
  /** Ids of SSH keys. */
  readonly requiredSshKeys: readonly string[]
  /** By the id of the API key. */
  readonly keySnippets: Readonly<Record<string, string>>
  readonly projects: readonly ProjectId[]
}

const EMPTY: Notes = { requiredSshKeys: [], keySnippets: {}, projects: [] }

export class SideNotes {
  readonly #path: string
  #notes: Notes
  #writing: Promise<void> = Promise.resolve()

  constructor(stateDir: string) {
    this.#path = join(stateDir, 'notes.json')
    this.#notes = { ...EMPTY, ...readNotes(this.#path) }
  }

  isRequired(sshKeyId: string): boolean {
    return this.#notes.requiredSshKeys.includes(sshKeyId)
  }

  snippetOf(keyId: string): string | null {
    return Object.hasOwn(this.#notes.keySnippets, keyId) ? (this.#notes.keySnippets[keyId] ?? null) : null
  }

  projects(): readonly ProjectId[] {
    return this.#notes.projects
  }

  async addProject(id: ProjectId): Promise<void> {
    if (!this.#notes.projects.includes(id)) await this.#update({ ...this.#notes, projects: [...this.#notes.projects, id] })
  }

  async setRequired(sshKeyId: string, isRequired: boolean): Promise<void> {
    if (this.isRequired(sshKeyId) === isRequired) return
    const others = this.#notes.requiredSshKeys.filter(id => id !== sshKeyId)
    await this.#update({ ...this.#notes, requiredSshKeys: isRequired ? [...others, sshKeyId] : others })
  }

  async setSnippet(keyId: string, snippet: string | null): Promise<void> {
    const { [keyId]: _, ...others } = this.#notes.keySnippets
    await this.#update({ ...this.#notes, keySnippets: snippet === null ? others : { ...others, [keyId]: snippet } })
  }

  /** One after the other, so that the last one written is the last one asked for. */
  #update(notes: Notes): Promise<void> {
    this.#notes = notes
    const write = async () => {
      await writeFile(`${this.#path}.new`, JSON.stringify(this.#notes), { mode: 0o600, flush: true })
      await rename(`${this.#path}.new`, this.#path)
    }
    const done = this.#writing.then(write)
    this.#writing = done.catch(() => {})
    return done
  }
}

function readNotes(path: string): Partial<Notes> {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Partial<Notes>
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw error
  }
}
