/** Images of a pretended host: a registry that tells what it is by the name, and archives of which only the bytes count. */
import { createHash } from 'node:crypto'
import type { Host, HostImage, PullRequest } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { ImageConfig, ImageDigest } from '../../instance/model.ts'
import type { HostCall } from './faults.ts'
import type { MachineState } from './machine-state.ts'

interface Pretence {
  readonly state: MachineState
  readonly act: <T>(call: HostCall, instanceId: string | null, effect: () => T | Promise<T>) => Promise<T>
  /** Images that another host has for this one. */
  readonly borrowed: () => Promise<readonly HostImage[]>
}

export function pretendImages({ state, act, borrowed }: Pretence): Pick<Host, 'pullImage' | 'importImage' | 'images' | 'removeImage'> {
  function keep(image: HostImage): HostImage {
    state.images[image.digest] = image
    return image
  }

  return {
    pullImage: request => act('pullImage', null, () => keep(pretendedImage(request))),
    importImage: (archive, onProgress) =>
      act('importImage', null, async () => {
        onProgress({ status: 'converting', fraction: null })
        const hash = createHash('sha256')
        let sizeBytes = 0
        for await (const chunk of archive) {
          hash.update(chunk)
          sizeBytes += chunk.length
        }
        if (sizeBytes === 0) throw new BerthError('invalid_archive', 'The archive is empty: give an OCI archive or a docker save.')
        return keep({ digest: `sha256:${hash.digest('hex')}` as ImageDigest, sizeBytes, config: PRETENDED_CONFIG })
      }),
    async images() {
      const own = Object.values(state.images).map(image => ({ ...image, digest: image.digest as ImageDigest }))
      return [...own, ...(await borrowed())]
    },
    removeImage: digest => act('removeImage', null, () => void delete state.images[digest]),
  }
}

export function imageMissing(digest: string): BerthError {
  return new BerthError('image_not_found', `The image ${digest} is not on this host.`)
}

const PRETENDED_CONFIG: ImageConfig = {
  entrypoint: [],
  cmd: ['/bin/serve'],
  env: { PATH: '/usr/bin:/bin' },
  workingDir: '/',
  user: '',
  stopSignal: null,
  exposedPorts: [],
}

/** A pretended registry: what it is told by the name. `missing` is unknown, `denied` wants credentials, `broken` is cut off. */
function pretendedImage(request: PullRequest): HostImage {
  if (request.signal.aborted) throw new BerthError('cancelled', 'The pull was given up.')
  if (/\/missing(?=[:@])/.test(request.name)) throw new BerthError('image_not_found', `${request.name} is not in its registry.`)
  if (/\/denied(?=[:@])/.test(request.name) && request.credentials === null) throw new BerthError('registry_denied', `${request.name} needs credentials.`)
  if (/\/broken(?=[:@])/.test(request.name)) throw new BerthError('registry_unreachable', `The registry of ${request.name} cut the transfer off.`)
  request.onProgress({ status: 'pulling', fraction: 1 })
  request.onProgress({ status: 'converting', fraction: null })
  const named = /@(sha256:[0-9a-f]{64})$/.exec(request.name)?.[1]
  const digest = named ?? `sha256:${createHash('sha256').update(request.name).digest('hex')}`
  return { digest: digest as ImageDigest, sizeBytes: 4 * 2 ** 20, config: PRETENDED_CONFIG }
}
