/** Writes the seeds of fuzz/agent-frames.sh: one stream of every kind of request, as the host sends it. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeHeader } from '../src/host/guest-link/frame.ts'
import { encodeApp, encodeClock, encodeConfig, encodeEntry, encodeExec, encodePath, encodeVolume } from '../src/host/guest-link/message.ts'
import { FRAME, HOST_MARKER, TAG } from '../src/host/guest-link/protocol.ts'
import { TlvWriter } from '../src/host/guest-link/tlv.ts'

const entropy = Buffer.alloc(32, 0xe5)
const volume = { serial: 'vol-0', path: '/data', mode: 'overlay', overlaySerial: 'vol-0-over' } as const
const bodies: readonly (readonly [name: string, type: number, body: Buffer])[] = [
  ['configure', FRAME.configure, encodeConfig({
    hostname: 'dock', machineId: '0'.repeat(32), dns: ['10.0.0.1'], root: { serial: 'root', overlaySerial: 'overlay' }, volumes: [volume],
    network: { mac: '52:54:00:00:00:01', ip: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1', mtu: 1500 },
  }, entropy, 1_700_000_000_000.5)],
  ['app-start', FRAME.appStart, encodeApp({ command: ['sh', '-c', 'true'], env: { A: '1' }, workingDir: '/w', user: 'ann:staff', stopSignal: 'SIGQUIT' })],
  ['exec', FRAME.exec, encodeExec({ command: ['ls', '-l'], env: { A: '1', B: '' }, workingDir: '/w', user: '0', tty: { rows: 24, cols: 80 }, timeoutMs: 5 }, 65_536)],
  ['stat', FRAME.stat, encodePath('/etc/hosts', { followLinks: true })],
  ['mount', FRAME.mount, encodeVolume(volume)],
  ['set-clock', FRAME.setClock, encodeClock(entropy, 1)],
  ['app-stop', FRAME.appStop, new TlvWriter().number(TAG.grace, 10_000).finish()],
  ['load-module', FRAME.loadModule, new TlvWriter().text(TAG.name, 'nfs').finish()],
  ['entry', FRAME.data, encodeEntry({ path: 'a/b', kind: 'symlink', mode: 0o777, uid: 1, gid: 2, sizeBytes: 3, mtimeSeconds: 4, linkTarget: '../c' })],
]

const directory = join(import.meta.dirname, 'seeds')
await mkdir(directory, { recursive: true })
for (const [name, type, body] of bodies) {
  const stream = [Buffer.from([7]), HOST_MARKER, Buffer.alloc(16, 0x11), encodeHeader(type, 0, 1, body.length), body, HOST_MARKER, Buffer.alloc(16, 0x22)]
  await writeFile(join(directory, name), Buffer.concat(stream))
}
