/**
 * What an instance runs: its image's config and its own wishes, combined as Docker combines them.
 *
 *   entrypoint  null: the image's · empty: none · given: replaces it, and drops the image's command
 *   cmd         null or empty: the image's, unless an entrypoint was given · given: replaces it
 *   env         the image's, then the instance's on top; PATH has a default
 *   user, dir   the instance's, else the image's, else root and /
 */
import { BerthError } from './errors.ts'
import { quoteGo } from './go-text.ts'
import type { ImageConfig, InstanceSpec } from './model.ts'

export type CommandWishes = Pick<InstanceSpec, 'entrypoint' | 'cmd' | 'env' | 'user' | 'workingDir'>

export interface ResolvedCommand {
  /** argv; never empty. */
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Absolute. */
  readonly workingDir: string
  /** Never empty; `0` is root, whether or not the image knows that name. */
  readonly user: string
}

export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
export const ARGUMENT_LIMIT = 4096
/** Linux takes at most 128 KiB, with the closing zero, for one argument. */
export const ARGUMENT_LIMIT_BYTES = 131_071
/** All of them together. */
export const ARGUMENTS_TOTAL_LIMIT_BYTES = 1_048_576

/** The command, environment, directory and user of an instance. Throws `invalid_request` if nothing is left to run. */
export function resolveCommand(image: ImageConfig, wishes: CommandWishes): ResolvedCommand {
  const replaced = wishes.entrypoint !== null && wishes.entrypoint.length > 0
  const entrypoint = wishes.entrypoint ?? image.entrypoint
  const cmd = wishes.cmd !== null && wishes.cmd.length > 0 ? wishes.cmd : replaced ? [] : image.cmd
  const command = [...entrypoint, ...cmd]
  checkCommand(command, 'The image names no command to run: give one with cmd or entrypoint.')
  return {
    command,
    env: { PATH: DEFAULT_PATH, ...image.env, ...wishes.env },
    workingDir: absolute(wishes.workingDir, image.workingDir),
    user: wishes.user || image.user || '0',
  }
}

/** Throws `invalid_request` unless Linux can be given this argv. */
export function checkCommand(command: readonly string[], whenEmpty = 'The command is empty: name a program to run.'): void {
  if (command.length === 0 || command[0] === '') throw new BerthError('invalid_request', whenEmpty)
  if (command.length > ARGUMENT_LIMIT) {
    throw new BerthError('invalid_request', `The command has ${command.length} arguments; at most ${ARGUMENT_LIMIT} are allowed.`)
  }
  let totalBytes = 0
  for (const [at, argument] of command.entries()) {
    const bytes = Buffer.byteLength(argument)
    totalBytes += bytes + 1
    if (argument.includes('\0') || !argument.isWellFormed()) {
      throw new BerthError('invalid_request', `Argument ${at} of the command holds a zero byte or broken Unicode.`)
    }
    if (bytes > ARGUMENT_LIMIT_BYTES) {
      throw new BerthError('invalid_request', `Argument ${at} of the command has ${bytes} bytes; Linux takes at most ${ARGUMENT_LIMIT_BYTES}.`)
    }
  }
  if (totalBytes > ARGUMENTS_TOTAL_LIMIT_BYTES) {
    throw new BerthError('invalid_request', `The command has ${totalBytes} bytes; at most ${ARGUMENTS_TOTAL_LIMIT_BYTES} are allowed.`)
  }
}

function absolute(wished: string | null, image: string): string {
  if (wished) {
    if (wished.startsWith('/') && !wished.includes('\0')) return wished
    throw new BerthError('invalid_request', `The working directory ${quoteGo(wished)} must be an absolute path.`)
  }
  // Some images carry a relative directory; Docker takes it from the root.
  return image.startsWith('/') ? image : `/${image}`
}
