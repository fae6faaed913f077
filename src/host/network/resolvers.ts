/**
 * Name servers for guests: those of the host that a guest can reach too.
 */
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { parseIpv4 } from '../../instance/address.ts'

/** resolv.conf(5): more are ignored by every libc. */
const MAX_RESOLVERS = 3
/** Where systemd-resolved keeps the real servers behind its own at 127.0.0.53. */
const RESOLVER_FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf']
/** When the host's resolver answers only the host itself, and nothing was configured. */
export const FALLBACK_RESOLVERS: readonly string[] = ['1.1.1.1', '8.8.8.8']

/** The first file that names a server which isn't the host itself, else the public fallback. */
export async function hostResolvers(): Promise<readonly string[]> {
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)))
  for (const file of RESOLVER_FILES) {
    const found = parseResolvers(await readOrEmpty(file)).filter((address) => !own.has(address))
    if (found.length > 0) return found
  }
  return FALLBACK_RESOLVERS
}

/** IPv4 servers of a resolv.conf, without loopback: to a guest that is the guest. */
export function parseResolvers(text: string): string[] {
  const found = text.split('\n').flatMap((line) => {
    const address = /^\s*nameserver\s+(\S+)/.exec(line)?.[1]
    return address !== undefined && parseIpv4(address) !== null && !address.startsWith('127.') && address !== '0.0.0.0' ? [address] : []
  })
  return [...new Set(found)].slice(0, MAX_RESOLVERS)
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    // No such file, or not ours to read: then it names no server.
    return ''
  }
}
