/**
 * Names of OCI images, normalised as Docker does it: `alpine` is `docker.io/library/alpine:latest`.
 *
 *   [domain "/"] path [":" tag] ["@" digest]
 *
 * The first component is a domain if it holds a dot, a colon or a capital, or is `localhost`; otherwise the
 * domain is Docker Hub's. A digest wins over a tag. Normalising is idempotent.
 */
import { BerthError } from './errors.ts'
import { quoteGo } from './go-text.ts'
import type { ImageDigest } from './model.ts'

export interface ImageName {
  /** The whole name, normalised: `docker.io/library/alpine:3.18`, or `…@sha256:…`. */
  readonly name: string
  /** Without tag and digest: `docker.io/library/alpine`. */
  readonly repository: string
  /** `docker.io`, `localhost:5000`. */
  readonly domain: string
  /** `library/alpine` */
  readonly path: string
  /** Exactly one of tag and digest is not null. */
  readonly tag: string | null
  readonly digest: ImageDigest | null
}

/** Longest text that can be an image name: two names of 255, a tag and a digest. */
export const IMAGE_NAME_LIMIT_CHARACTERS = 768
/** Longest path of a repository. */
export const REPOSITORY_LIMIT_CHARACTERS = 255

const DEFAULT_DOMAIN = 'docker.io'
const LEGACY_DEFAULT_DOMAIN = 'index.docker.io'
const OFFICIAL = 'library/'
const DEFAULT_TAG = 'latest'

const HEX_64 = /^[a-f0-9]{64}$/
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const DOMAIN = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`)
const COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const REMAINDER = new RegExp(`^(${COMPONENT}(?:/${COMPONENT})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(.*))?$`)
const DIGEST = /^sha256:[a-f0-9]{64}$/

/** The image that a text names, normalised. Throws `invalid_image_name`. */
export function parseImageName(text: string): ImageName {
  if (text === '') throw refused(text, 'it is empty')
  if (text.length > IMAGE_NAME_LIMIT_CHARACTERS) throw refused(text, `it is longer than ${IMAGE_NAME_LIMIT_CHARACTERS} characters`)
  if (HEX_64.test(text)) throw refused(text, 'it is a bare digest; write repository@sha256:digest')
  const { domain, remainder } = splitDomain(text)
  const match = REMAINDER.exec(remainder)
  const path = match?.[1]
  if (path === undefined || !DOMAIN.test(domain)) throw refused(text, formatProblem(remainder))
  if (path.length > REPOSITORY_LIMIT_CHARACTERS) {
    throw refused(text, `its repository is longer than ${REPOSITORY_LIMIT_CHARACTERS} characters`)
  }
  const digest = match?.[3] ?? null
  if (digest !== null && !DIGEST.test(digest)) throw refused(text, 'its digest is not sha256: and 64 hexadecimal digits')
  const repository = `${domain}/${path}`
  if (digest !== null) {
    return { name: `${repository}@${digest}`, repository, domain, path, tag: null, digest: digest as ImageDigest }
  }
  const tag = match?.[2] ?? DEFAULT_TAG
  return { name: `${repository}:${tag}`, repository, domain, path, tag, digest: null }
}

/** The short form that people read and that means the same: `alpine:latest`, `foo/bar:1`, `ghcr.io/a/b:latest`. */
export function familiarImageName(image: ImageName): string {
  if (image.domain !== DEFAULT_DOMAIN) return image.name
  const official = image.path.startsWith(OFFICIAL) ? image.path.slice(OFFICIAL.length) : image.path
  const path = official.includes('/') ? image.path : official
  // A first component like `0.0` or `localhost` would be read as a domain: such a name stays whole.
  if (splitDomain(path).domain !== DEFAULT_DOMAIN) return image.name
  return path + image.name.slice(image.repository.length)
}

/** The same repository pinned to a content. */
export function pinnedImageName(image: ImageName, digest: ImageDigest): string {
  return `${image.repository}@${digest}`
}

function splitDomain(text: string): { domain: string; remainder: string } {
  const slash = text.indexOf('/')
  if (slash < 0) return { domain: DEFAULT_DOMAIN, remainder: OFFICIAL + text }
  const first = text.slice(0, slash)
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase()
  const domain = !isDomain || first === LEGACY_DEFAULT_DOMAIN ? DEFAULT_DOMAIN : first
  const remainder = isDomain ? text.slice(slash + 1) : text
  const isOfficial = domain === DEFAULT_DOMAIN && !remainder.includes('/')
  return { domain, remainder: isOfficial ? OFFICIAL + remainder : remainder }
}

function formatProblem(remainder: string): string {
  const repository = remainder.replace(/[:@].*$/s, '')
  return repository === repository.toLowerCase()
    ? 'it must look like [registry/]repository[:tag][@sha256:digest]'
    : 'its repository must be lower-case'
}

function refused(text: string, problem: string): BerthError {
  return new BerthError('invalid_image_name', `${quoteGo(text)} is not an image name: ${problem}.`)
}
