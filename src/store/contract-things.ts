/** The contract of a store about what instances are made of: images, volumes, file systems and firewalls, and whose all is: projects and keys. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ApiKey, Image, ImageDigest, InstanceId, ProjectId, VolumeId } from '../instance/model.ts'
import { type StoreBench, anId, HOST, anInstance, aVolume, refused } from './contract-fixture.ts'

export function describeThings(bench: StoreBench): void {
  describe('images', () => {
    const anImage = (change: Partial<Image> = {}): Image => ({
      projectId: 'p' as ProjectId,
      name: 'docker.io/library/alpine:latest',
      status: 'ready',
      digest: `sha256:${'b'.repeat(64)}` as ImageDigest,
      sizeBytes: 2 ** 33 + 1,
      config: { entrypoint: [], cmd: ['sh'], env: { A: 'b' }, workingDir: '/', user: '', stopSignal: null, exposedPorts: ['80/tcp'] },
      error: null,
      queuePosition: null,
      progress: 0.5,
      tags: { a: 'b' },
      createdAt: 1.25,
      updatedAt: 2.5,
      ...change,
    })

    test('an image is kept by project and name, replaced by put, gone after delete', async () => {
      const first = anImage()
      const pending = anImage({ projectId: 'q' as ProjectId, status: 'pending', digest: null, sizeBytes: null, config: null, queuePosition: 3, progress: null, createdAt: 9 })
      await bench.store.transaction(async (tx) => {
        await tx.putImage(first)
        await tx.putImage(pending)
      })
      assert.deepEqual(await bench.store.read.image(first.projectId, first.name), first)
      assert.deepEqual(await bench.store.read.images(null), [pending, first])
      assert.deepEqual(await bench.store.read.images(first.projectId), [first])
      const failed = { ...first, status: 'failed' as const, error: 'no such tag' }
      await bench.store.transaction((tx) => tx.putImage(failed))
      assert.deepEqual(await bench.store.read.images(first.projectId), [failed])
      await bench.store.transaction((tx) => tx.deleteImage(first.projectId, first.name))
      assert.equal(await bench.store.read.image(first.projectId, first.name), null)
      assert.deepEqual(await bench.store.read.image(pending.projectId, pending.name), pending)
    })
  })

  describe('volumes', () => {
    test('attachments are kept apart from the volume, and a volume that has one can’t be deleted', async () => {
      const volume = aVolume()
      const [one, two] = [anId('instance'), anId('instance')].toSorted()
      assert.ok(one !== undefined && two !== undefined)
      await bench.store.transaction(async (tx) => {
        await tx.putVolume(volume)
        await tx.putAttachment(volume.id, { instanceId: one, path: '/a', mode: 'ro' })
        await tx.putAttachment(volume.id, { instanceId: two, path: '/b', mode: 'ro' })
        await tx.putAttachment(volume.id, { instanceId: two, path: '/c', mode: 'overlay' })
      })
      const attachments = [
        { instanceId: one, path: '/a', mode: 'ro' },
        { instanceId: two, path: '/c', mode: 'overlay' },
      ]
      assert.deepEqual(await bench.store.read.volume(volume.id), { ...volume, attachments })
      await bench.store.transaction((tx) => tx.putVolume({ ...volume, status: 'failed', error: 'x' }))
      assert.deepEqual((await bench.store.read.volume(volume.id))?.attachments, attachments)
      await refused('volume_in_use', bench.store.transaction((tx) => tx.deleteVolume(volume.id)))
      await bench.store.transaction(async (tx) => {
        await tx.deleteAttachment(volume.id, one)
        await tx.deleteAttachment(volume.id, two)
        await tx.deleteAttachment(volume.id, two)
        await tx.deleteVolume(volume.id)
      })
      assert.equal(await bench.store.read.volume(volume.id), null)
      await refused('volume_not_found', bench.store.transaction((tx) => tx.putAttachment(volume.id, { instanceId: one, path: '/a', mode: 'ro' })))
    })

    test('names may repeat, an id belongs to the project that had it first', async () => {
      const projectId = anId('project')
      const a = aVolume({ projectId, createdAt: 1 })
      const b = aVolume({ projectId, createdAt: 2, id: 'my.data_1' as VolumeId })
      const c = aVolume({ createdAt: 3 })
      await bench.store.transaction(async (tx) => {
        for (const volume of [a, b, c]) await tx.putVolume(volume)
        await tx.putAttachment(b.id, { instanceId: 'i' as InstanceId, path: '/b', mode: 'rw' })
      })
      const attached = { ...b, attachments: [{ instanceId: 'i', path: '/b', mode: 'rw' }] }
      assert.deepEqual(await bench.store.read.volumes({ projectId, name: 'data' }), [attached, a])
      assert.deepEqual(await bench.store.read.volumes({ projectId: null }), [c, attached, a])
      assert.deepEqual(await bench.store.read.volumes({ projectId, name: 'none' }), [])
      await refused('already_exists', bench.store.transaction((tx) => tx.putVolume(aVolume({ id: b.id }))))
      assert.deepEqual(await bench.store.read.volume(b.id), attached)
    })
  })

  describe('file systems and firewalls', () => {
    const rules = [{ protocol: 'tcp', ports: [22, 22], source: '0.0.0.0/0', description: 'é' }] as const

    test('a file system is kept whole, its name once in a project, its size with that of volumes', async () => {
      const one = { id: anId('fileSystem'), projectId: anId('project'), name: 'shared', region: 'home', sizeBytes: 2 ** 40, status: 'creating', createdAt: 1.5, createdBy: null } as const
      await bench.store.transaction((tx) => tx.putFileSystem(one))
      assert.deepEqual(await bench.store.read.fileSystem(one.id), one)
      assert.equal((await bench.store.read.usage(HOST, null)).volumeBytes, 2 ** 40)
      await refused('name_conflict', bench.store.transaction((tx) => tx.putFileSystem({ ...one, id: anId('fileSystem') })))
      const elsewhere = { ...one, id: anId('fileSystem'), projectId: anId('project'), createdBy: anId('key') }
      await bench.store.transaction((tx) => tx.putFileSystem(elsewhere))
      await bench.store.transaction((tx) => tx.putFileSystem({ ...one, status: 'ready' }))
      assert.deepEqual(await bench.store.read.fileSystems(one.projectId), [{ ...one, status: 'ready' }])
      assert.equal((await bench.store.read.fileSystems(null)).length, 2)
      await bench.store.transaction((tx) => tx.deleteFileSystem(one.id))
      assert.equal(await bench.store.read.fileSystem(one.id), null)
      assert.deepEqual(await bench.store.read.fileSystems(elsewhere.projectId), [elsewhere])
    })

    test('what living instances of a project use is told, and nothing of the dead or of others', async () => {
      const projectId = anId('project')
      const [fileSystemId, rulesetId] = [anId('fileSystem'), anId('firewallRuleset')]
      const uses = { fileSystems: [{ fileSystemId, path: '/x' }, { fileSystemId: anId('fileSystem'), path: '/y' }], firewallRulesets: [rulesetId] }
      const living = anInstance({ projectId }, uses)
      const guarded = anInstance({ projectId, createdAt: 1_900_000_000_000 }, { fileSystems: [], firewallRulesets: [] })
      await bench.insert(living, guarded, anInstance({ projectId }, { fileSystems: [], firewallRulesets: null }), anInstance({ projectId, phase: 'deleted' }, uses), anInstance({}, uses))
      assert.deepEqual(
        await bench.store.read.fileSystemUsers(projectId),
        uses.fileSystems.map((mount) => ({ instanceId: living.id, fileSystemId: mount.fileSystemId })),
      )
      assert.deepEqual(await bench.store.read.firewallUsers(projectId), [
        { instanceId: living.id, rulesetIds: [rulesetId] },
        { instanceId: guarded.id, rulesetIds: [] },
      ])
      assert.equal((await bench.store.read.firewallUsers(null)).length, 3)
    })

    test('rulesets and the global rules of a project are kept, replaced and deleted', async () => {
      const projectId = anId('project')
      assert.equal(await bench.store.read.globalFirewallRules(projectId), null)
      for (const wanted of [rules, []]) {
        await bench.store.transaction((tx) => tx.putGlobalFirewallRules(projectId, wanted))
        assert.deepEqual(await bench.store.read.globalFirewallRules(projectId), wanted)
      }
      const one = { id: anId('firewallRuleset'), projectId, name: 'web', region: 'home', rules, createdAt: 1.5 }
      await bench.store.transaction((tx) => tx.putFirewallRuleset(one))
      await bench.store.transaction((tx) => tx.putFirewallRuleset({ ...one, id: anId('firewallRuleset'), createdAt: 2 }))
      await bench.store.transaction((tx) => tx.putFirewallRuleset({ ...one, name: 'www', rules: [] }))
      const kept = await bench.store.read.firewallRulesets(projectId)
      assert.deepEqual(kept[0], { ...one, name: 'www', rules: [] })
      assert.equal(kept[1]?.name, 'web')
      await bench.store.transaction((tx) => tx.deleteFirewallRuleset(one.id))
      assert.deepEqual((await bench.store.read.firewallRulesets(projectId)).map(({ name }) => name), ['web'])
      assert.deepEqual(await bench.store.read.firewallRulesets(anId('project')), [])
    })
  })

  describe('projects and keys', () => {
    test('a project is replaced by put and listed oldest first', async () => {
      const one = { id: anId('project'), name: 'one', guestToGuest: false, createdAt: 1 }
      const two = { id: anId('project'), name: 'two', guestToGuest: true, createdAt: 2 }
      await bench.store.transaction(async (tx) => {
        await tx.putProject(two)
        await tx.putProject(one)
        await tx.putProject({ ...one, name: 'uno', guestToGuest: true })
      })
      assert.deepEqual(await bench.store.read.projects(), [{ ...one, name: 'uno', guestToGuest: true }, two])
      assert.deepEqual(await bench.store.read.project(two.id), two)
      assert.equal(await bench.store.read.project(anId('project')), null)
    })

    test('a key is found by its hash, which no other key can have', async () => {
      const key: ApiKey = {
        id: anId('key'),
        projectId: anId('project'),
        name: 'ci',
        scopes: ['read', 'exec'],
        createdAt: 1,
        audience: ['mcp'],
        lastUsedAt: null,
        expiresAt: 2.5,
      }
      await bench.store.transaction((tx) => tx.putKey(key, 'hash-1'))
      assert.deepEqual(await bench.store.read.keyByHash('hash-1'), key)
      assert.equal(await bench.store.read.keyByHash('hash-2'), null)
      await refused('already_exists', bench.store.transaction((tx) => tx.putKey({ ...key, id: anId('key') }, 'hash-1')))
      const used = { ...key, lastUsedAt: 9 }
      await bench.store.transaction((tx) => tx.putKey(used, 'hash-1'))
      assert.deepEqual(await bench.store.read.keys(key.projectId), [used])
      assert.deepEqual(await bench.store.read.keys(anId('project')), [])
      await bench.store.transaction((tx) => tx.deleteKey(key.id))
      assert.deepEqual(await bench.store.read.keys(null), [])
    })
  })
}
