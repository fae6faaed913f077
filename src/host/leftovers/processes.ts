/** VMs and file servers whose files are gone: nobody can reach them any more, and nothing of what they write is kept. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { isAlive, identify } from '../qemu/identity.ts'
import { killVm } from '../qemu/process.ts'
import { isGone, processIds, type Leftover } from './leftover.ts'

/** A file of an instance, or of the guest that a template is made of, as /proc shows it. */
const VM_FILE = /^(.*)\/(?:instances\/[0-9a-f-]{36}|t-[0-9a-f]{8})\/[^/]+?( \(deleted\))?$/
const FILE_SYSTEM = /^(.*)\/file-systems\/[0-9a-f-]{36}\/data\.ext4 \(deleted\)$/

export async function processLeftovers(): Promise<readonly Leftover[]> {
  return [...(await vmLeftovers()), ...(await fileServerLeftovers())]
}

async function vmLeftovers(): Promise<readonly Leftover[]> {
  const found: Leftover[] = []
  for (const pid of await qemus()) {
    const dataDir = await lostDirectory(pid)
    const identity = dataDir === null ? null : await identify(pid)
    if (dataDir === null || identity === null) continue
    found.push({
      kind: 'VM',
      name: `process ${pid}`,
      why: `its files and its directory ${dataDir} are deleted`,
      remove: async () => {
        if ((await lostDirectory(pid)) !== dataDir || !(await isAlive(identity))) return false
        await killVm(identity)
        return true
      },
    })
  }
  return found
}

/** Names of the taps that VMs of this machine have open now, whatever they were called when the VM was started. */
export async function tapsInUse(): Promise<ReadonlySet<string>> {
  const taps = new Set<string>()
  for (const pid of await qemus()) {
    for (const descriptor of await readdir(`/proc/${pid}/fdinfo`).catch(() => [])) {
      const info = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8').catch(() => '')
      const tap = /^iff:\s*(\S+)/m.exec(info)?.[1]
      if (tap !== undefined) taps.add(tap)
    }
  }
  return taps
}

/** The directory of a VM all of whose files are deleted, and which is gone itself. */
async function lostDirectory(pid: number): Promise<string | null> {
  const files = (await openFiles(pid)).map((path) => VM_FILE.exec(path)).filter((match) => match !== null)
  const [first] = files
  if (first === undefined || files.some(([, dir, deleted]) => deleted === undefined || dir !== first[1])) return null
  const dataDir = first[1] ?? ''
  return dataDir !== '' && (await isGone(dataDir)) ? dataDir : null
}

/** An NFS server is known by the disk that it serves: a loop device over a file of Berth's. */
async function fileServerLeftovers(): Promise<readonly Leftover[]> {
  const found: Leftover[] = []
  for (const { device, dataDir } of await lostDisks()) {
    for (const pid of await processIds()) {
      if (!/^(.*\/)?ganesha\.nfsd\0/.test(await commandOf(pid)) || !(await mounts(pid)).includes(` ${device} `)) continue
      const identity = await identify(pid)
      if (identity === null) continue
      found.push({
        kind: 'file server',
        name: `process ${pid}`,
        why: `its file system and its directory ${dataDir} are deleted`,
        remove: async () => {
          if (!(await lostDisks()).some((disk) => disk.device === device && disk.dataDir === dataDir) || !(await isAlive(identity))) return false
          await killVm(identity)
          return true
        },
      })
    }
  }
  return found
}

/** Loop devices over deleted files of file systems whose directory is gone; `major:minor` of each. */
async function lostDisks(): Promise<readonly { readonly device: string; readonly dataDir: string }[]> {
  const disks: { device: string; dataDir: string }[] = []
  for (const name of await readdir('/sys/block').catch(() => [])) {
    if (!name.startsWith('loop')) continue
    const backing = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '') // not in use
    const dataDir = FILE_SYSTEM.exec(backing.trim())?.[1]
    if (dataDir === undefined || !(await isGone(dataDir))) continue
    disks.push({ device: (await readFile(`/sys/block/${name}/dev`, 'utf8')).trim(), dataDir })
  }
  return disks
}

async function qemus(): Promise<readonly number[]> {
  const found: number[] = []
  for (const pid of await processIds()) if (/^([^\0]*\/)?qemu-system-[^\0]*\0/.test(await commandOf(pid))) found.push(pid)
  return found
}

// A process may end at any moment: then it has nothing open.

async function commandOf(pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
}

async function mounts(pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '')
}

async function openFiles(pid: number): Promise<readonly string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => [])
  return (await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')))).filter((path) => path !== '')
}
