/**
 * A new writable disk for an instance that rests: from its image, or from another one of about the same kind.
 *
 * The record comes first; the host then removes what the instance left there, and its next start makes it anew. A start
 * that comes in between is not in danger: the removal names the generation that rested, which a newer one outlives.
 */
import { resolveCommand } from '../instance/command.ts'
import { BerthError } from '../instance/errors.ts'
import { parseImageName } from '../instance/image-name.ts'
import type { Image, Instance } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'
import { ownInstance, requireScope } from './access.ts'
import type { Caller, Instances } from './api.ts'
import { instanceTarget } from './audit.ts'
import type { Core } from './core.ts'
import { withDeadline } from './fleet.ts'
import { refused } from './instances.ts'
import { refOf } from './vm-spec.ts'

const RESTING: readonly Phase[] = ['stopped', 'preempted', 'failed']

export function makeDiskRenewal(core: Core): Pick<Instances, 'renewDisk'> {
  return {
    async renewDisk(caller, id, options = {}) {
      requireScope(caller, 'write')
      const before = await ownInstance(core.store.read, caller, id)
      const image = options.image === undefined ? null : await imageFor(core, caller, before, options.image)
      const recorded = await core.journal.commit(async change => {
        const instance = await ownInstance(change.tx, caller, id)
        if (!RESTING.includes(instance.phase) || instance.desired === 'running') throw refused('renew-disk', instance)
        const patch = image === null ? {} : { spec: { ...instance.spec, image: image.name }, imageDigest: image.digest }
        await core.audit.record(change.tx, caller, { action: 'instance.renew-disk', target: instanceTarget(instance), details: { image: image?.name ?? instance.spec.image } })
        return change.note(instance, 'Its disk is made anew at the next start.', patch)
      })
      if (recorded.hostId === null) return recorded
      const { host } = core.fleet.link(recorded.hostId)
      await withDeadline(host.destroy(refOf(recorded)), core.config.deadlines.destroyMs, 'The host did not remove the old disk in time.')
      return recorded
    },
  }
}

/** One that is ready, and that can be started as the instance is. */
async function imageFor(core: Core, caller: Caller, instance: Instance, text: string): Promise<Image> {
  const { name } = parseImageName(text)
  const image = await core.images.lookUp(caller.projectId, name)
  if (image?.status !== 'ready' || image.digest === null || image.config === null) {
    throw new BerthError('image_not_found', `There is no image ${name} here that is ready: pull it first.`, { details: { image: name } })
  }
  resolveCommand(image.config, instance.spec)
  return image
}
