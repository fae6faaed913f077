/**
 * What a server is told from outside: one table of settings, each with its variable, its flag, its default and
 * its reader. A flag wins over the environment, the environment over the default; a bad value is one sentence
 * that names where it came from and says what is right.
 */
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DEFAULT_SUBNET } from '../host/network/network.ts'
import { MAX_PREFIX_LENGTH, MIN_PREFIX_LENGTH } from '../instance/address.ts'
import { parseDuration } from '../instance/duration.ts'
import { BerthError } from '../instance/errors.ts'
import { parseFriendlySize } from '../instance/sizes.ts'
import { parseToolsets, TOOLSETS } from '../mcp/mode.ts'
import type { Mode } from '../mcp/mode.ts'
import { parseSealingKey } from '../store/sealing.ts'

export interface ServerConfig {
  readonly listen: { readonly host: string; readonly port: number }
  readonly dataDir: string
  /** null makes one on first start and keeps it in `<data>/admin.key`. */
  readonly adminKey: string | null
  /** Raw secret of HMAC tokens; null takes none. */
  readonly jwtSecret: string | null
  /** Seals secrets; null is the key in the data directory. */
  readonly secretsKey: Buffer | null
  readonly host: 'qemu' | 'simulated'
  readonly accelerator: 'auto' | 'kvm' | 'tcg'
  /** Where set-up put the guest's kernel and initramfs. */
  readonly guestDir: string
  /** For sockets; null is the host's own choice. */
  readonly runDir: string | null
  /** Whether instances are cloned from booted guests where that is possible. */
  readonly templates: boolean
  /** Of images, how many there may be. */
  readonly imageTemplates: number
  /** Whether regions that only pretend have anything to give. */
  readonly simulatedRegions: boolean
  /** Memory for VMs that wait to be instances; null keeps none. */
  readonly poolBytes: number | null
  /** Whether what waits has rehearsed a launch; otherwise its guest has run nothing. */
  readonly poolRehearses: boolean
  readonly napBytes: number
  readonly network: 'auto' | 'bridge' | 'user' | 'none'
  readonly subnet: string
  /** The bridge's name, where two servers share a machine; null is the host's own. */
  readonly bridge: string | null
  readonly dns: readonly string[]
  /** Registries that are spoken to over plain HTTP, or with a certificate nobody signed. */
  readonly insecureRegistries: readonly string[]
  readonly overcommit: { readonly cpu: number; readonly memory: number; readonly disk: number }
  readonly market: {
    /** Between the notice of a preemption and its stop. */
    readonly noticeMs: number
    /** The least bid, as a part of the catalogue's price. */
    readonly floorShare: number
    readonly minReservationMs: number
  }
  readonly limits: {
    readonly vcpusPerInstance: number
    readonly memoryBytesPerInstance: number
    readonly overlayBytesPerInstance: number
  }
  readonly mcp: {
    /** null serves no MCP. */
    readonly listen: ServerConfig['listen'] | null
    /** It was asked for, so that not to serve it is a failure. */
    readonly isRequired: boolean
    readonly hostnames: readonly string[]
    readonly mode: Mode
    /** The claim of tokens that names their project; null is none, and the default project for all. */
    readonly projectClaim: string | null
    /** What tokens must carry as their audience; null is the URL at which MCP is served. */
    readonly resource: string | null
    /** Issuers whose tokens it takes beside keys. */
    readonly authorizationServers: readonly string[]
  }
  readonly logLevel: LogLevel
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** One setting, as `berth serve --help` shows it. */
export interface Setting {
  readonly flag: string
  readonly variable: string
  /** What stands for the value in help; null is a setting that only the environment may carry (secrets). */
  readonly placeholder: string | null
  readonly fallback: string
  readonly help: string
}

export const SETTINGS = {
  listen: setting('listen', 'BERTH_LISTEN', 'ADDRESS:PORT', '127.0.0.1:8080', 'where the API listens; port 0 takes a free one'),
  dataDir: setting('data-dir', 'BERTH_DATA_DIR', 'DIR', '', 'where everything is kept (default /var/lib/berth for root, else $XDG_DATA_HOME/berth)'),
  adminKey: setting('admin-key', 'BERTH_ADMIN_KEY', null, '', 'the administrator’s key; without it one is made on first start'),
  jwtSecret: setting('jwt-secret', 'BERTH_JWT_SECRET', null, '', 'secret of HMAC tokens that Hypeman clients may use besides keys'),
  secretsKey: setting('secrets-key', 'BERTH_SECRETS_KEY', null, '', 'seals secrets: 32 bytes in base64 or hex; without it a key is made in the data directory'),
  host: setting('host', 'BERTH_HOST', 'KIND', 'qemu', 'qemu runs real VMs, simulated only pretends'),
  accelerator: setting('accel', 'BERTH_ACCEL', 'KIND', 'auto', 'auto proves KVM by a boot and else emulates; kvm or tcg insist'),
  guestDir: setting('guest-dir', 'BERTH_GUEST_DIR', 'DIR', '', 'the guest’s kernel and initramfs (default: where set-up put them)'),
  runDir: setting('run-dir', 'BERTH_RUN_DIR', 'DIR', '', 'where sockets are kept (default /run/berth for root, else the user’s own)'),
  templates: setting('templates', 'BERTH_TEMPLATES', 'YES|NO', 'yes', 'clone instances from a guest that has booted already, instead of booting each'),
  simulatedRegions: setting('simulated-regions', 'BERTH_SIMULATED_REGIONS', 'YES|NO', 'yes', 'give out the pretended capacity of the catalogue’s simulated regions'),
  imageTemplates: setting('image-templates', 'BERTH_IMAGE_TEMPLATES', 'N', '8', 'templates with an image mounted, of the images launched last; each takes 60-100 MB of memory and as much disk; 0: none'),
  pool: setting('pool', 'BERTH_POOL', 'YES|NO|UNSTARTED', 'yes', 'keep a few VMs that wait for whom they will be, so that a launch takes a moment; `unstarted`: that have not run yet'),
  poolMemory: setting('pool-memory', 'BERTH_POOL_MEMORY', 'SIZE', '512MB', 'memory that VMs which wait may take, of all together'),
  napMemory: setting('nap-memory', 'BERTH_NAP_MEMORY', 'SIZE', '512MB', 'memory that instances in standby may go on holding for a while, of all together, so that they wake at once; 0 holds none'),
  network: setting('network', 'BERTH_NETWORK', 'MODE', 'auto', 'auto, bridge (needs root), user or none'),
  subnet: setting('subnet', 'BERTH_SUBNET', 'CIDR', DEFAULT_SUBNET, 'addresses of instances'),
  bridge: setting('bridge', 'BERTH_BRIDGE', 'NAME', '', 'the network bridge of this server; a second server on a machine needs its own, and its own subnet'),
  dns: setting('dns', 'BERTH_DNS', 'LIST', '', 'name servers of instances (default: those of this machine)'),
  insecureRegistries: setting('insecure-registries', 'BERTH_INSECURE_REGISTRIES', 'LIST', '', 'registries to speak plain HTTP to, as host or host:port'),
  overcommitCpu: setting('overcommit-cpu', 'BERTH_OVERCOMMIT_CPU', 'RATIO', '4', 'virtual CPUs that may be promised for each real one'),
  overcommitMemory: setting('overcommit-memory', 'BERTH_OVERCOMMIT_MEMORY', 'RATIO', '1', 'memory that may be promised for each real byte'),
  overcommitDisk: setting('overcommit-disk', 'BERTH_OVERCOMMIT_DISK', 'RATIO', '2', 'disk that may be promised for each real byte (disks are sparse)'),
  preemptionNotice: setting('preemption-notice', 'BERTH_PREEMPTION_NOTICE', 'DURATION', '5m', 'how long an instance of a bid that is outbid still runs'),
  spotFloor: setting('spot-floor', 'BERTH_SPOT_FLOOR', 'PERCENT', '25', 'the least that may be bid, in percent of the catalogue’s price'),
  minReservation: setting('min-reservation', 'BERTH_MIN_RESERVATION', 'DURATION', '3h', 'the shortest time that can be reserved'),
  maxVcpus: setting('max-vcpus', 'BERTH_MAX_VCPUS', 'N', '16', 'virtual CPUs that one instance may have'),
  maxMemory: setting('max-memory', 'BERTH_MAX_MEMORY', 'SIZE', '32GB', 'memory that one instance may have, with hotplug'),
  maxOverlay: setting('max-overlay', 'BERTH_MAX_OVERLAY', 'SIZE', '100GB', 'writable disk that one instance may have'),
  mcpListen: setting('mcp-listen', 'BERTH_MCP_LISTEN', 'ADDRESS:PORT', '127.0.0.1:9090', 'where MCP is served, at /mcp; nothing serves none'),
  mcpHosts: setting('mcp-hosts', 'BERTH_MCP_HOSTS', 'LIST', '', 'other host names under which MCP clients may come'),
  mcpResource: setting('mcp-resource', 'BERTH_MCP_RESOURCE', 'URL', '', 'the URL at which MCP clients reach it, which tokens must be for'),
  mcpAuthorizationServers: setting('mcp-authorization-servers', 'BERTH_MCP_AUTHORIZATION_SERVERS', 'LIST', '', 'OAuth issuers whose tokens MCP takes beside keys'),
  mcpProjectClaim: setting('mcp-project-claim', 'BERTH_MCP_PROJECT_CLAIM', 'NAME', '', 'the claim of tokens that names their project; without it all act in the default one'),
  mcpReadOnly: setting('mcp-read-only', 'BERTH_MCP_READ_ONLY', 'YES|NO', 'no', 'offer MCP clients only what changes nothing'),
  mcpNoExec: setting('mcp-no-exec', 'BERTH_MCP_NO_EXEC', 'YES|NO', 'no', 'offer MCP clients nothing that reaches into instances'),
  mcpToolsets: setting('mcp-toolsets', 'BERTH_MCP_TOOLSETS', 'LIST', '', `offer MCP clients only these: core, ${TOOLSETS.join(', ')}; all is those on request (market) as well`),
  databaseUrl: setting('database-url', 'BERTH_DATABASE_URL', null, '', 'a database other than SQLite in the data directory'),
  logLevel: setting('log-level', 'BERTH_LOG_LEVEL', 'LEVEL', 'info', LOG_LEVELS.join(', ')),
} as const satisfies Record<string, Setting>

export type SettingName = keyof typeof SETTINGS
/** Values by setting, as the CLI's parser found them. */
export type Flags = Readonly<Partial<Record<SettingName, string>>>

/** Fewer characters than this are no secret. */
const SECRET_MIN_CHARACTERS = 16
const OVERCOMMIT_LIMIT = 1000
/** In the checkout, as scripts/setup.sh leaves it. */
const BUILT_GUEST_DIR = fileURLToPath(new URL('../../.berth/guest', import.meta.url))
const VCPUS_LIMIT = 1024
const IMAGE_TEMPLATES_LIMIT = 64
const DAY_MS = 86_400_000

/** The configuration, complete. Throws `invalid_request` with the one sentence for the person. */
export function readConfig(env: NodeJS.ProcessEnv, flags: Flags = {}): ServerConfig {
  const read = <T>(name: SettingName, parse: (text: string) => T): T => {
    const { text, origin } = valueOf(name, env, flags)
    try {
      return parse(text)
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      throw new BerthError('invalid_request', `${origin} is ${JSON.stringify(shownValue(name, text))}: ${problem}`, { cause: error })
    }
  }
  read('databaseUrl', sqliteOnly)
  return {
    listen: read('listen', parseListen),
    dataDir: read('dataDir', text => parseDataDir(text, env)),
    adminKey: read('adminKey', parseKey),
    jwtSecret: read('jwtSecret', parseSecret),
    secretsKey: read('secretsKey', parseSecretsKey),
    host: read('host', choice(['qemu', 'simulated'])),
    accelerator: read('accelerator', choice(['auto', 'kvm', 'tcg'])),
    guestDir: read('guestDir', text => (text === '' ? BUILT_GUEST_DIR : resolve(text))),
    runDir: read('runDir', text => (text === '' ? null : resolve(text))),
    templates: read('templates', parseYesNo),
    imageTemplates: read('imageTemplates', parseTemplateCount),
    simulatedRegions: read('simulatedRegions', parseYesNo),
    poolBytes: read('pool', parsePool) === 'no' ? null : read('poolMemory', parsePositiveSize),
    poolRehearses: read('pool', parsePool) === 'yes',
    napBytes: read('napMemory', text => (text === '0' ? 0 : parsePositiveSize(text))),
    network: read('network', choice(['auto', 'bridge', 'user', 'none'])),
    subnet: read('subnet', parseSubnet),
    bridge: read('bridge', text => (text === '' ? null : text)),
    dns: read('dns', text => list(text).map(parseIpv4)),
    insecureRegistries: read('insecureRegistries', text => list(text).map(parseRegistry)),
    overcommit: {
      cpu: read('overcommitCpu', parseRatio),
      memory: read('overcommitMemory', parseRatio),
      disk: read('overcommitDisk', parseRatio),
    },
    market: {
      noticeMs: read('preemptionNotice', parseNotice),
      floorShare: read('spotFloor', text => parsePercent(text) / 100),
      minReservationMs: read('minReservation', parseNotice),
    },
    limits: {
      vcpusPerInstance: read('maxVcpus', text => parseCount(text, VCPUS_LIMIT)),
      memoryBytesPerInstance: read('maxMemory', parsePositiveSize),
      overlayBytesPerInstance: read('maxOverlay', parsePositiveSize),
    },
    mcp: {
      listen: read('mcpListen', text => (text === '' ? null : parseListen(text))),
      isRequired: flags.mcpListen !== undefined || env[SETTINGS.mcpListen.variable] !== undefined,
      hostnames: read('mcpHosts', text => list(text).map(parseHostname)),
      mode: { readOnly: read('mcpReadOnly', parseYesNo), noExec: read('mcpNoExec', parseYesNo), toolsets: read('mcpToolsets', parseToolsets) },
      resource: read('mcpResource', text => (text === '' ? null : parseMcpUrl(text))),
      projectClaim: read('mcpProjectClaim', text => (text === '' ? null : text)),
      authorizationServers: read('mcpAuthorizationServers', text => list(text).map(parseIssuer)),
    },
    logLevel: read('logLevel', choice(LOG_LEVELS)),
  }
}

function setting(flag: string, variable: string, placeholder: string | null, fallback: string, help: string): Setting {
  return { flag, variable, placeholder, fallback, help }
}

function valueOf(name: SettingName, env: NodeJS.ProcessEnv, flags: Flags): { readonly text: string; readonly origin: string } {
  const { flag, variable, fallback } = SETTINGS[name]
  const given = flags[name]
  if (given !== undefined) return { text: given, origin: `--${flag}` }
  return { text: env[variable] ?? fallback, origin: variable }
}

function shownValue(name: SettingName, text: string): string {
  return SETTINGS[name].placeholder === null ? '…' : text.slice(0, 200)
}

/** `host:port`, `[::1]:8080`, `:8080` or `8080`. */
export function parseListen(text: string): ServerConfig['listen'] {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):)?(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) throw new Error('write an address and a port, like 127.0.0.1:8080 or [::1]:8080')
  const host = match[1] ?? match[2] ?? ''
  const isColonOnly = text.startsWith(':')
  return { host: host === '' ? (isColonOnly ? '0.0.0.0' : '127.0.0.1') : host, port }
}

function parseDataDir(text: string, env: NodeJS.ProcessEnv): string {
  if (text !== '') return resolve(text)
  if (process.getuid?.() === 0) return '/var/lib/berth'
  const xdg = env['XDG_DATA_HOME'] ?? ''
  return isAbsolute(xdg) ? join(xdg, 'berth') : join(homedir(), '.local', 'share', 'berth')
}

function parseSecret(text: string): string | null {
  if (text === '') return null
  if (text.length < SECRET_MIN_CHARACTERS) throw new Error(`it has ${text.length} characters, use at least ${SECRET_MIN_CHARACTERS}`)
  return text
}

/** A secret that travels in a header. */
function parseKey(text: string): string | null {
  if (!/^[\x21-\x7e]*$/.test(text)) throw new Error('it holds characters that no client can send, use letters and digits')
  return parseSecret(text)
}

function choice<const T extends readonly string[]>(values: T): (text: string) => T[number] {
  return text => {
    const found = values.find(value => value === text)
    if (found === undefined) throw new Error(`use one of ${values.join(', ')}`)
    return found
  }
}

function list(text: string): readonly string[] {
  return text.split(',').map(part => part.trim()).filter(part => part !== '')
}

function parseIpv4(text: string): string {
  const octets = text.split('.')
  if (octets.length !== 4 || !octets.every(octet => /^\d{1,3}$/.test(octet) && Number(octet) <= 255)) {
    throw new Error(`${JSON.stringify(text)} is no IPv4 address like 1.1.1.1`)
  }
  return octets.map(Number).join('.')
}

function parseSubnet(text: string): string {
  const [address, bits, ...more] = text.split('/')
  const prefix = Number(bits)
  if (address === undefined || more.length > 0 || !/^\d{1,2}$/.test(bits ?? '') || prefix < MIN_PREFIX_LENGTH || prefix > MAX_PREFIX_LENGTH) {
    throw new Error(`write a network of ${MIN_PREFIX_LENGTH} to ${MAX_PREFIX_LENGTH} bits, like 10.73.0.0/16`)
  }
  return `${parseIpv4(address)}/${prefix}`
}

function parseRegistry(text: string): string {
  if (!/^[A-Za-z0-9.-]+(?::\d{1,5})?$|^\[[0-9a-fA-F:]+\](?::\d{1,5})?$/.test(text)) {
    throw new Error(`${JSON.stringify(text)} is no registry, write host or host:port without a scheme`)
  }
  return text.toLowerCase()
}

function parseHostname(text: string): string {
  if (!/^[A-Za-z0-9.-]+$|^\[?[0-9a-fA-F:]+\]?$/.test(text)) throw new Error(`${JSON.stringify(text)} is no host name, write it without scheme and port`)
  return text.toLowerCase()
}

function parseYesNo(text: string): boolean {
  const word = text.trim().toLowerCase()
  if (['yes', 'true', '1', 'on'].includes(word)) return true
  if (['no', 'false', '0', 'off', ''].includes(word)) return false
  throw new Error('use yes or no')
}

function parsePool(text: string): 'yes' | 'no' | 'unstarted' {
  if (text.trim().toLowerCase() === 'unstarted') return 'unstarted'
  try {
    return parseYesNo(text) ? 'yes' : 'no'
  } catch (error) {
    throw new Error('use yes, no or unstarted', { cause: error })
  }
}

function parseRatio(text: string): number {
  const ratio = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || ratio <= 0 || ratio > OVERCOMMIT_LIMIT) throw new Error(`write a number above 0 and up to ${OVERCOMMIT_LIMIT}`)
  return ratio
}

function parseSecretsKey(text: string): Buffer | null {
  if (text === '') return null
  const key = parseSealingKey(text)
  if (key === null) throw new Error('write 32 bytes in base64 or hex, as openssl rand -base64 32 makes them')
  return key
}

function parseCount(text: string, limit: number): number {
  const count = Number(text)
  if (!/^\d{1,6}$/.test(text) || count < 1 || count > limit) throw new Error(`write a whole number from 1 to ${limit}`)
  return count
}

function parseNotice(text: string): number {
  const ms = parseDuration(text)
  if (!(ms >= 0 && ms <= DAY_MS)) throw new Error('write a duration from 0s to 24h, like 5m')
  return ms
}

function parsePercent(text: string): number {
  const percent = Number(text)
  if (!/^\d{1,3}(\.\d+)?$/.test(text) || percent > 100) throw new Error('write a number from 0 to 100')
  return percent
}

function parseTemplateCount(text: string): number {
  return text === '0' ? 0 : parseCount(text, IMAGE_TEMPLATES_LIMIT)
}

function parsePositiveSize(text: string): number {
  const bytes = parseFriendlySize(text)
  if (bytes < 1) throw new Error('write a size like 32GB')
  return bytes
}

function sqliteOnly(text: string): void {
  if (text !== '') throw new Error('only SQLite in the data directory is supported, leave it out')
}

function parseMcpUrl(text: string): string {
  const url = parseUrl(text)
  if (url.search !== '' || url.hash !== '') throw new Error('it has a query or a fragment: leave that out')
  return url.href
}

/** As the issuer writes itself: it is compared letter by letter. */
function parseIssuer(text: string): string {
  const { protocol, hostname, search, hash } = parseUrl(text)
  const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  if (protocol !== 'https:' && !isLocal) throw new Error('an issuer that is not on this machine must be https')
  if (search !== '' || hash !== '') throw new Error('it has a query or a fragment: leave that out')
  return text
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) throw new Error('it is no http or https URL')
  return url
}
