/** Bringing an image and showing how far it is. */
import type { ImageBody } from '../dialects/native/schema/images.ts'
import type { Client } from './client.ts'
import { part } from './client.ts'
import { CliError, isApiError } from './failure.ts'
import { say } from './output.ts'

export type PullWhen = 'always' | 'missing' | 'never'

/** The image, ready. Throws a sentence if it can't be. */
export async function bringImage(client: Client, name: string, when: PullWhen, platform?: string): Promise<ImageBody> {
  if (when !== 'always') {
    const there = await lookUp(client, name)
    if (there?.status === 'ready') return there
    if (when === 'never') {
      if (there === null) throw new CliError(`There is no image "${name}" on the server: pull it with "berth images pull ${name}".`)
      throw new CliError(`The image "${name}" is ${there.status}, not ready.`)
    }
  }
  const queued = await client.call<ImageBody>('POST', '/images', { json: { name, ...(platform === undefined ? {} : { platform }) } })
  return queued.status === 'ready' ? queued : followPull(client, queued.name)
}

/** Shows the progress of a pull until the image is ready. */
export async function followPull(client: Client, name: string): Promise<ImageBody> {
  const show = await makeProgress()
  let image: ImageBody | null = null
  try {
    for await (const next of client.records<ImageBody>(`/images/${part(name)}/progress`)) {
      image = next
      show.update(describe(next))
    }
  } finally {
    show.end()
  }
  if (image?.status !== 'ready') {
    throw new CliError(`The image "${name}" could not be brought: ${image?.error ?? 'the server ended before it was there'}`)
  }
  return image
}

async function lookUp(client: Client, name: string): Promise<ImageBody | null> {
  try {
    return await client.call<ImageBody>('GET', `/images/${part(name)}`)
  } catch (error) {
    if (isApiError(error, 'image_not_found', 'not_found')) return null
    throw error
  }
}

function describe({ name, status, progress, queuePosition }: ImageBody): string {
  switch (status) {
    case 'pending':
      return queuePosition === null ? `${name}: waiting` : `${name}: waiting, ${queuePosition} before it`
    case 'pulling':
      return progress === null ? `${name}: pulling` : `${name}: pulling, ${Math.floor(progress * 100)} %`
    case 'converting':
      return `${name}: making the root disk`
    case 'ready':
      return `${name}: ready`
    case 'failed':
      return `${name}: failed`
  }
}

/** A spinner on a terminal, a line for each new state elsewhere; always on stderr. */
async function makeProgress(): Promise<{ update(text: string): void; end(): void }> {
  if (process.stderr.isTTY) {
    const { default: ora } = await import('ora')
    const spinner = ora({ stream: process.stderr, discardStdin: false })
    return { update: (text) => void (spinner.isSpinning ? (spinner.text = text) : spinner.start(text)), end: () => void spinner.stop() }
  }
  let told = ''
  return {
    update: (text) => {
      const state = text.replace(/, \d+ %$/, '')
      if (state !== told) say(state)
      told = state
    },
    end: () => undefined,
  }
}
