/**
 * Turns what skopeo, umoci and mkfs.erofs say into one sentence of the catalogue. Pure.
 * The raw text stays in `cause`, for the log; a registry's own words never reach a client.
 */
import { BerthError, type ErrorCode } from '../../instance/errors.ts'
import { ToolFailure } from './tool.ts'

/** What the program was doing when it failed. */
export type Doing = 'pull' | 'unpack' | 'convert' | 'import'

interface Rule {
  readonly pattern: RegExp
  readonly code: ErrorCode
  readonly say: (name: string, host: string) => string
}

const DISK_FULL: Rule = {
  pattern: /no space left on device|disk quota exceeded/i,
  code: 'disk_full',
  say: (name) => `The host's disk is full, so ${name} could not be stored; free some space (\`berth images rm\`) and try again.`,
}

/** First match wins: the narrow ones stand before the wide ones. */
const PULL_RULES: readonly Rule[] = [
  DISK_FULL,
  {
    pattern: /toomanyrequests|too many requests|\b429\b/i,
    code: 'rate_limited',
    say: (_name, host) => `The registry ${host} limits how often it may be asked; wait, or pull with credentials.`,
  },
  {
    // The service that gives out tokens, not the image, is what was not found.
    pattern: /requesting bearer token: invalid status code from registry 4\d\d/i,
    code: 'registry_denied',
    say: denied,
  },
  {
    pattern: /manifest unknown|name unknown|\bmanifest .*not found|\b404\b|not found: /i,
    code: 'image_not_found',
    say: (name) => `There is no image ${name} in its registry; check the name and the tag.`,
  },
  {
    pattern: /unauthorized|authentication required|access to the resource is denied|invalid username\/password|\bdenied\b|\b40[13]\b|forbidden/i,
    code: 'registry_denied',
    say: denied,
  },
  {
    pattern: /no image found in (manifest list|image index)/i,
    code: 'image_not_found',
    say: (name) => `${name} does not exist for the wanted platform.`,
  },
  {
    pattern: /http response to https client|x509|certificate|tls: /i,
    code: 'registry_unreachable',
    say: (_name, host) =>
      `The registry ${host} does not offer trusted HTTPS; if it is meant to be plain, add ${host} to BERTH_INSECURE_REGISTRIES.`,
  },
  {
    pattern: /digest did not match|does not match (digest|expected)|digest mismatch|does not match blob|invalid checksum|gzip: invalid|corrupt|diffid/i,
    code: 'invalid_archive',
    say: (name, host) => `The registry ${host} sent damaged data for ${name}.`,
  },
  {
    pattern:
      /connection refused|no such host|i\/o timeout|timeout|deadline exceeded|EOF|connection reset|broken pipe|no route to host|network is unreachable|server misbehaving|\b50[0-9]\b|pinging container registry|use of closed/i,
    code: 'registry_unreachable',
    say: (name, host) =>
      host === 'localhost'
        ? `There is no image ${name} here, and no registry at localhost; check the name, or import it with \`berth images import FILE ${name}\`.`
        : `The registry ${host} could not be reached, or broke off while it sent ${name}; try again.`,
  },
]

function denied(name: string, host: string): string {
  return `The registry ${host} refuses ${name}: the image may not exist, or it needs other credentials.`
}

/** The host (and port) that a normalised name belongs to. */
export function registryHost(name: string): string {
  return name.split('/', 1)[0] ?? name
}

/** `name` is what the client knows the thing by. Catalogue errors pass through. */
export function imageFailure(doing: Doing, name: string, error: unknown): BerthError {
  if (error instanceof BerthError) return error
  if (!(error instanceof ToolFailure)) return systemFailure(name, error)
  if (error.why === 'aborted') {
    // Whoever aborted for a reason of the catalogue (no space left, nothing arrives) gave it along.
    if (error.abortReason instanceof BerthError) return error.abortReason
    return new BerthError('cancelled', `The work on ${name} was cancelled.`, { cause: error })
  }
  if (error.why === 'deadline') {
    return doing === 'pull'
      ? new BerthError('registry_unreachable', `The registry ${registryHost(name)} took too long over ${name}; try again.`, { cause: error })
      : new BerthError('timeout', `Unpacking ${name} took too long and was stopped.`, { cause: error })
  }
  if (DISK_FULL.pattern.test(error.stderr)) return new BerthError('disk_full', DISK_FULL.say(name, ''), { cause: error })
  switch (doing) {
    case 'pull': {
      const host = registryHost(name)
      const rule = PULL_RULES.find((candidate) => candidate.pattern.test(fatalPart(error.stderr)))
      if (rule !== undefined) return new BerthError(rule.code, rule.say(name, host), { cause: error })
      return new BerthError('image_failed', `${name} could not be pulled from ${host}; the server's log has the registry's words.`, { cause: error })
    }
    case 'import':
    case 'unpack':
      return new BerthError('invalid_archive', `${name} could not be unpacked: its layers are damaged, incomplete or not allowed.`, { cause: error })
    case 'convert':
      return new BerthError('internal', `${name} could not be converted to a root image.`, { cause: error })
  }
}

/** What the program gave up with, without references and addresses: an image may well be called `denied` or `404`. */
function fatalPart(stderr: string): string {
  const lines = stderr.split('\n')
  const fatal = lines.filter((line) => line.includes('level=fatal'))
  return (fatal.length > 0 ? fatal : lines)
    .join('\n')
    .replace(/\S*[.:]\S*\/\S+|\blocalhost\/\S+/g, '…')
    .replace(/reading manifest \S+ in/g, 'reading manifest in')
}

function systemFailure(name: string, error: unknown): BerthError {
  const code = error instanceof Error && 'code' in error ? error.code : null
  if (code === 'ENOSPC' || code === 'EDQUOT') return new BerthError('disk_full', DISK_FULL.say(name, ''), { cause: error })
  const text = error instanceof Error ? error.message : String(error)
  return new BerthError('internal', `Berth met an error of its own with ${name}: ${text}`, { cause: error })
}
