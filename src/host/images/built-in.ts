/**
 * The image that needs no network: `localhost/busybox`, made from the machine's own static busybox.
 * A true OCI image, with the same digest wherever the same busybox is.
 */
import { chmod, copyFile, mkdir, open, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { BerthError } from '../../instance/errors.ts'
import { writeLayout, type Layout } from './oci-layout.ts'
import { runTool } from './tool.ts'

/** Its normalised name. */
export const BUILT_IN_NAME = 'localhost/busybox:latest'
/** Part of what the record remembers: an image of an older recipe is made again. */
const RECIPE = 1
const BUSYBOX_PATHS = ['/bin/busybox', '/usr/bin/busybox', '/usr/lib/busybox/busybox-static']
const TOOL_DEADLINE_MS = 60_000
/** What makes a tar of the same tree the same bytes. */
const SAME_TAR = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0'] as const
/** Name, mode. Parents stand before children. */
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ...['bin', 'dev', 'etc', 'home', 'mnt', 'opt', 'proc', 'run', 'sbin', 'srv', 'sys'].map((name) => [name, 0o755] as const),
  ...['usr', 'usr/bin', 'usr/sbin', 'usr/local', 'usr/local/bin', 'var', 'var/log', 'var/spool'].map((name) => [name, 0o755] as const),
  ['root', 0o700],
  ['tmp', 0o1777],
  ['var/tmp', 0o1777],
]
const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/sh\n',
  'etc/group': 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
  'etc/shadow': 'root:*:::::::\nnobody:*:::::::\n',
  'etc/hosts': '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'etc/shells': '/bin/sh\n/bin/ash\n',
  'etc/os-release': 'NAME="Berth busybox"\nID=berth-busybox\nPRETTY_NAME="Berth busybox"\n',
  'etc/profile': "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n",
}
/**
 * Says that it is there, stays, and leaves with 0 when told to stop. The sleeper holds none of the output: told to stop
 * in the very moment of its start it can miss that, and whoever waits for the output's end would wait for it.
 */
const IDLE = [
  "trap 'echo localhost/busybox stops; kill $!; exit 0' TERM INT",
  'echo localhost/busybox is ready',
  'while :; do sleep 3600 >/dev/null 2>&1 & wait $!; done',
].join('\n')

export interface Busybox {
  readonly path: string
  /** Changes whenever the file does. */
  readonly fingerprint: string
}

/** The busybox to build from; `host_unavailable` where there is none that runs without libraries. */
export async function findBusybox(wanted: string | null): Promise<Busybox> {
  for (const path of wanted === null ? BUSYBOX_PATHS : [wanted]) {
    const found = await lookAt(path)
    if (found !== null) return { path, fingerprint: `${RECIPE} ${path} ${found.size} ${found.mtimeMs} ${found.ino}` }
  }
  throw new BerthError('host_unavailable', 'The built-in image needs a static busybox; install it (`apt-get install busybox-static`).')
}

/** Builds the image below `workDir`. */
export async function buildBusybox(busybox: Busybox, workDir: string, signal: AbortSignal): Promise<Layout> {
  if (!(await isStatic(busybox.path))) {
    throw new BerthError(
      'host_unavailable',
      `${busybox.path} needs libraries of this machine; install a static one (\`apt-get install busybox-static\`).`,
    )
  }
  const run = { workDir, deadlineMs: TOOL_DEADLINE_MS, signal }
  const tree = join(workDir, 'tree')
  await mkdir(tree, { recursive: true })
  for (const [name, mode] of DIRECTORIES) {
    await mkdir(join(tree, name))
    await chmod(join(tree, name), mode)
  }
  for (const [name, text] of Object.entries(FILES)) {
    await writeFile(join(tree, name), text)
    await chmod(join(tree, name), name === 'etc/shadow' ? 0o640 : 0o644)
  }
  await copyFile(busybox.path, join(tree, 'bin/busybox'))
  await chmod(join(tree, 'bin/busybox'), 0o755)
  const applets = (await runTool({ ...run, tool: busybox.path, args: ['--list-full'] })).toString('utf8').split('\n')
  for (const applet of applets) await linkApplet(tree, applet)
  const layer = join(workDir, 'layer.tar')
  await runTool({
    ...run,
    tool: 'tar',
    args: ['--create', '--file', layer, '--directory', tree, '--format=gnu', ...SAME_TAR, '.'],
  })
  return await writeLayout(join(workDir, 'layout'), layer, {
    created: '1970-01-01T00:00:00Z',
    os: 'linux',
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    config: {
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      Cmd: ['/bin/sh', '-c', IDLE],
      WorkingDir: '/',
    },
  })
}

/** `usr/bin/awk` → a link to `../../bin/busybox`; names that busybox shouldn't have printed are passed over. */
async function linkApplet(tree: string, applet: string): Promise<void> {
  if (!/^(usr\/)?s?bin\/[\w[.+-]+$/.test(applet) || applet === 'bin/busybox') return
  await symlink(relative(dirname(applet), 'bin/busybox'), join(tree, applet))
}

async function lookAt(path: string): Promise<{ readonly size: number; readonly mtimeMs: number; readonly ino: number } | null> {
  try {
    const found = await stat(path)
    return found.isFile() ? found : null
  } catch {
    return null
  }
}

/**
 * Whether an ELF file asks for no interpreter (a program header of type 3, PT_INTERP):
 *
 *     0  7f 45 4c 46, class 2 = 64 bit     32  offset of the program headers (8)     54  size of one (2)     56  how many (2)
 */
async function isStatic(path: string): Promise<boolean> {
  await using file = await open(path)
  const { buffer: header, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0)
  if (bytesRead < 64 || header.readUInt32BE(0) !== 0x7f454c46 || header.readUInt8(4) !== 2) return false
  const at = Number(header.readBigUInt64LE(32))
  const sizeBytes = header.readUInt16LE(54)
  const count = header.readUInt16LE(56)
  const { buffer: table } = await file.read(Buffer.alloc(sizeBytes * count), 0, sizeBytes * count, at)
  return !Array.from({ length: count }, (_, index) => table.readUInt32LE(index * sizeBytes)).includes(3)
}
