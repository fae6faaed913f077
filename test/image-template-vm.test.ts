/**
 * Templates of images, on real VMs: used for that very image with that very disk, made in the background, and never used
 * once the image or the layer is another. What the image's own program does while one is made leaves no trace.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { copyFile, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { HostImage, VmSpec } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import type { QemuHostOptions } from '../src/host/qemu-host.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { eventually, exec, isRoot, logLines, openLab, qemusOf, refOf, shell, type Lab } from './host-lab.ts'
import { tar, writeOciLayout } from './registry-fixture.ts'
import { flip } from './support/damage.ts'

const MIB = 1024 * 1024
const SIZE = { vcpus: 1, memoryBytes: 128 * MIB }
/** What a shell does that is up to no good: it writes where it can, and leaves a process behind. */
const BAD_SHELL = `#!/bin/busybox sh
for place in / /etc /tmp /dev /dev/shm /proc /dev/.berth/private; do /bin/busybox echo here > $place/left-behind; done 2>&-
/bin/busybox sleep 1234567 <&- >&- 2>&- &
exec /bin/busybox sh "$@"
`

describe('a template of an image', { skip: !isRoot && 'templates need root' }, () => {
  let lab: Lab
  const said: string[] = []
  const note = (_: object, text: string) => void said.push(text)
  const made = () => said.filter((text) => text === 'a template of an image is ready').length
  before(async () => {
    lab = await openLab({ templates: [SIZE], log: { info: note, warn: note } })
    await eventually('a template', () => said.includes('a template is ready'))
  })
  after(() => lab.close())

  it('is made after the image’s first launch, and those that follow come from it', async () => {
    await launched('general')
    await eventually('a template of the image', () => made() === 1)
    const [one, other] = [await keep('image'), await keep('image')]
    await shell(lab.host, one, 'echo mine > /mine; sync')
    assert.equal((await exec(lab.host, other, ['cat', '/mine'])).code, 1)
    const recorded = JSON.parse(await readFile(join(lab.dataDir, 'instances', one.instanceId, 'vm.json'), 'utf8')) as { readonly template: string }
    assert.deepEqual(await ofImage(), [recorded.template])
    // What the guest had mounted and the disk that it found fit: nothing of the file system is amiss.
    await lab.host.stop(refOf(one), { graceMs: 20_000 })
    await runCommand('e2fsck', ['-fn', join(lab.dataDir, 'instances', one.instanceId, 'overlay.ext4')])
    for (const spec of [one, other]) await lab.host.destroy(refOf(spec))
  })

  it('gives its clones their names in whole files, and the application the place, user and kind of process that it asks for', async () => {
    const tells = ['sh', '-c', 'echo $(pwd) $(id -u) $(cat /proc/self/oom_score_adj); exec sleep 1000000']
    const asked: readonly (readonly [Partial<VmSpec>, string])[] = [
      [{}, '/ 0 0'],
      [{ user: '65534' }, '/ 65534 0'],
      [{ workingDir: '/made/here' }, '/made/here 0 0'],
    ]
    for (const [more, told] of asked) {
      const spec = await keep('image', { command: tells, ...more })
      await eventually('its first line', async () => (await logLines(lab.host, spec)).some(({ text }) => text === told))
      const names = await shell(lab.host, spec, 'cat /etc/hostname /etc/hosts; grep -c . /etc/resolv.conf; wc -l < /etc/resolv.conf')
      const [hostname, first, second, own, ...resolvers] = names.trim().split('\n')
      assert.deepEqual([hostname, first, second], [spec.hostname, '127.0.0.1 localhost', '::1 localhost ip6-localhost ip6-loopback'])
      assert.equal(own, `${spec.network?.ip ?? '127.0.1.1'} ${spec.hostname}`)
      assert.equal(resolvers[0], resolvers[1])
      await lab.host.destroy(refOf(spec))
    }
    const spec = await keep('image', { command: ['init'] })
    assert.equal(await shell(lab.host, spec, 'cat /proc/1/comm'), 'init')
    await lab.host.destroy(refOf(spec))
  })

  it('is not for a second start, whose disk holds something, nor for a disk of another size', async () => {
    const spec = await keep('image')
    await shell(lab.host, spec, 'echo kept > /kept; sync')
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    const again = { ...spec, generation: 2 }
    assert.equal((await lab.host.start(again)).how, 'template')
    assert.equal(await shell(lab.host, again, 'cat /kept'), 'kept')
    assert.match((await notesOf(again)).split('generation 2').at(-1) ?? '', /\(cloned from a template\)/)
    await lab.host.destroy(refOf(again))
    const size = { overlayBytes: 96 * MIB }
    const before = made()
    await launched('general', size)
    await eventually('a template with a disk of that size', () => made() > before)
    await launched('image', size)
  })

  it('lives on with its server’s successor, and wakes whom came from it though its layer is damaged', async () => {
    await reopened()
    await eventually('templates at rest', async () => (await lab.host.facts()).templates.filter((template) => template.ofImage && template.state === 'ready').length === 2)
    const spec = await keep('image')
    await shell(lab.host, spec, 'echo kept > /dev/shm/kept')
    await lab.host.suspend(refOf(spec))
    const [before, warnings] = [made(), damaged()]
    for (const id of await ofImage()) await flip(join(lab.dataDir, 'templates', id, 'layer'))
    await reopened()
    await eventually('a look at both', () => damaged() > warnings)
    assert.equal((await lab.host.resume(spec)).how, 'restored')
    assert.equal(await shell(lab.host, spec, 'cat /dev/shm/kept'), 'kept')
    await eventually('others in their place', () => made() >= before + 1)
    await eventually('templates at rest', async () => (await lab.host.facts()).templates.every(({ state }) => state === 'ready'))
    await launched('image')
    await lab.host.destroy(refOf(spec))
  })

  it('is passed over when the image’s file is another, and made anew', async () => {
    const root = join(lab.dataDir, 'images', lab.image.digest.slice('sha256:'.length), 'root.erofs')
    await copyFile(root, `${root}.copy`)
    await rename(`${root}.copy`, root)
    const before = made()
    await launched('general')
    await eventually('another template', () => made() > before)
    await launched('image')
  })

  it('gives way to another when there may be only one, but not while an instance may need it', async () => {
    const before = made()
    await reopened({ imageTemplates: 1 })
    const size = { overlayBytes: 80 * MIB }
    await launched('general', size)
    await eventually('a template in the others’ place', () => made() > before)
    assert.equal((await ofImage()).length, 1)
    const holding = await keep('image', size)
    const full = said.filter((text) => /could not be made; instances of its image/.test(text)).length
    await launched('general', { overlayBytes: 72 * MIB })
    await eventually('a refusal', () => said.filter((text) => /could not be made; instances of its image/.test(text)).length > full)
    await launched('image', size)
    await lab.host.destroy(refOf(holding))
  })

  it('is made of an image whose shell is up to no good, of which nothing is left; and goes with its image', async () => {
    await reopened({ imageTemplates: 4 })
    const image = await imported(BAD_SHELL)
    const other = { image: image.digest, imageConfig: image.config, command: ['/bin/busybox', 'sleep', '1000000'] }
    const before = made()
    await launched('general', other)
    await eventually('its template', () => made() > before)
    const spec = await keep('image', other)
    const look = ['/bin/busybox', 'sh', '-c', '/bin/busybox find / -name left-behind; /bin/busybox ps']
    const found = await exec(lab.host, spec, look)
    assert.doesNotMatch(found.stdout, /left-behind$|1234567|rehears/m)
    const [pid] = await qemusOf(spec.instanceId)
    assert.ok(pid !== undefined)
    await assert.rejects(lab.host.removeImage(image.digest), { code: 'image_in_use' })
    await lab.host.destroy(refOf(spec))
    const had = await ofImage()
    await lab.host.removeImage(image.digest)
    await eventually('the end of its template', async () => (await ofImage()).length < had.length)
    await assert.rejects(lab.host.start(lab.spec(other)), { code: 'image_not_found' })
  })

  it('is none where the operator wants none', async () => {
    await reopened({ imageTemplates: 0 })
    await launched('general', { overlayBytes: 88 * MIB })
    assert.ok((await lab.host.facts()).templates.every((template) => !template.ofImage))
  })

  /** Another host over the same directory, whose general template is there. */
  async function reopened(more: Partial<QemuHostOptions> = {}): Promise<void> {
    await lab.reopen(more)
    await eventually('the general one', async () => (await lab.host.facts()).templates.some((template) => template.state === 'ready' && !template.ofImage))
  }

  const damaged = (): number => said.filter((text) => /is damaged: its files are not those that were written|layer is damaged/.test(text)).length

  /** Launches an instance, and looks which template it came from. */
  async function keep(from: 'general' | 'image', more: Partial<VmSpec> = {}): Promise<VmSpec> {
    const spec = lab.spec({ hostname: `of-${randomUUID().slice(0, 8)}`, ...more })
    const { how } = await lab.host.start(spec)
    const notes = await notesOf(spec)
    assert.equal(how, 'template', notes)
    assert.match(notes, from === 'image' ? /cloned from a template with its image/ : /cloned from a template\)/)
    assert.equal((await exec(lab.host, spec, ['/bin/busybox', 'hostname'])).stdout, spec.hostname)
    return spec
  }

  async function launched(from: 'general' | 'image', more: Partial<VmSpec> = {}): Promise<void> {
    await lab.host.destroy(refOf(await keep(from, more)))
  }

  async function notesOf({ instanceId }: { readonly instanceId: InstanceId }): Promise<string> {
    return await readFile(join(lab.dataDir, 'instances', instanceId, 'server.log'), 'utf8')
  }

  /** The templates on the disk that have a layer. */
  async function ofImage(): Promise<string[]> {
    const dir = join(lab.dataDir, 'templates')
    const files = await Promise.all((await readdir(dir)).map(async (id) => ({ id, names: await readdir(join(dir, id)) })))
    return files.filter(({ names }) => names.includes('layer') && names.includes('template.json')).map(({ id }) => id)
  }

  /** busybox with another shell. */
  async function imported(sh: string): Promise<HostImage> {
    const dir = await mkdtemp(join(tmpdir(), 'berth-bad-shell-'))
    try {
      const busybox = await readFile(join('/bin', 'busybox')).catch(() => readFile('/usr/bin/busybox'))
      const layer = tar([
        { name: 'bin/', type: 'dir', mode: 0o755 },
        { name: 'tmp/', type: 'dir', mode: 0o1777 },
        { name: 'bin/busybox', data: busybox, mode: 0o755 },
        { name: 'bin/sh', data: sh, mode: 0o755 },
      ])
      await writeOciLayout(join(dir, 'layout'), { layers: [layer] })
      await runCommand('tar', ['-C', join(dir, 'layout'), '-cf', join(dir, 'image.tar'), '.'])
      const archive = await readFile(join(dir, 'image.tar'))
      return await lab.host.importImage((async function* () { yield archive })(), () => undefined)
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }
})
