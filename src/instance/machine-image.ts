/**
 * Images taken for machines: clouds whose clients name a system (`ubuntu-24-04`) instead of a container image run the
 * project's own images as if they were one. An image whose command is a shell would end at once; as a machine it stays.
 */
import type { Image, ImageConfig } from './model.ts'

/** What Berth has on every machine. */
export const BUILT_IN_IMAGE = 'localhost/busybox'
const STAY = ['/bin/sh', '-c', "trap 'kill $!; exit 0' TERM INT\nwhile :; do sleep 3600 >/dev/null 2>&1 & wait $!; done"] as const
const SHELL = /(?:^|\/)(?:sh|bash|ash|dash|zsh|fish|busybox)$/

/** What a launch asks of the engine for its image. */
export interface MachineImage {
  readonly image: string
  readonly entrypoint?: readonly string[]
  readonly cmd?: readonly string[]
  readonly pull?: 'missing'
}

/** The image as a machine; null is the built-in one. */
export function asMachine(image: Image | null): MachineImage {
  if (image === null) return { image: BUILT_IN_IMAGE, pull: 'missing' }
  return image.config !== null && endsAtOnce(image.config) ? { image: image.name, entrypoint: STAY, cmd: [] } : { image: image.name }
}

/** Those that can be launched now, newest first. */
export function readyImages(images: readonly Image[]): readonly Image[] {
  return images.filter(image => image.status === 'ready').toSorted((a, b) => b.updatedAt - a.updatedAt || (a.name < b.name ? -1 : 1))
}

/** What a launch that names none gets: the newest Lambda Stack, or Ubuntu of the highest version; null is the built-in one. */
export function defaultMachineImage(images: readonly Image[]): Image | null {
  const of = (prefix: string) => images.filter(image => familyOf(image.name).startsWith(prefix)).toSorted((a, b) => (familyOf(a.name) < familyOf(b.name) ? 1 : -1))
  return of('lambda-stack')[0] ?? of('ubuntu')[0] ?? null
}

/** `docker.io/library/ubuntu:24.04` is of the family `ubuntu-24-04`, `localhost/busybox:latest` of `busybox`. */
export function familyOf(name: string): string {
  const last = (name.split('@')[0] ?? '').split('/').at(-1) ?? ''
  return last
    .replace(/:latest$/, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
}

/** Whether the image's own command is a shell that waits for someone to type. */
function endsAtOnce(config: ImageConfig): boolean {
  const [program, ...rest] = [...config.entrypoint, ...config.cmd]
  return program === undefined || (SHELL.test(program) && rest.every(word => /^-[il]+$|^--login$/.test(word)))
}
