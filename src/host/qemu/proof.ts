/** What a host here would find out about KVM, for whoever asks without opening a host (`berth doctor`). */
import { access, chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostPaths } from '../paths.ts'
import { chooseAccelerator, qemuVersion, type AcceleratorVerdict } from './accel.ts'
import { takeArtifacts } from './artifacts.ts'
import { openJail } from './jail.ts'
import type { Accelerator } from './machine.ts'

export interface ProofOptions {
  /** Where a host keeps its verdict; a directory that isn't there stays away. */
  readonly dataDir: string
  readonly artifactsDir: string
  /** What BERTH_ACCEL insists on; null proves. */
  readonly accelerator: Accelerator | null
}

/** The verdict that a host keeps or would come to. Throws `host_unavailable` if QEMU or the guest is missing. */
export async function proveAccelerator(options: ProofOptions): Promise<AcceleratorVerdict> {
  const scratch = await mkdtemp(join(tmpdir(), 'berth-proof-'))
  try {
    // VMs run as users of their own and must reach their files in here.
    await chmod(scratch, 0o711)
    const own = hostPaths(scratch, scratch)
    await mkdir(own.run, { recursive: true })
    await chmod(own.run, 0o711)
    const kept = hostPaths(options.dataDir).acceleratorVerdict
    const isKept = await access(options.dataDir).then(() => true, () => false)
    const artifacts = await takeArtifacts(options.artifactsDir, own.guest)
    return await chooseAccelerator(options.accelerator, {
      verdictPath: isKept ? kept : own.acceleratorVerdict,
      runDir: own.run,
      kernelPath: artifacts.kernel,
      initramfsPath: artifacts.initramfs,
      guestVersion: artifacts.version,
      qemuVersion: await qemuVersion(),
      jail: await openJail(),
    })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
