/**
 * Templates that are not what they were, or were made by another QEMU, kernel or agent: none of them is ever used. The
 * launch boots instead and says why, and the template is made anew.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { appendFile, copyFile, cp, mkdir, mkdtemp, open, readdir, readFile, realpath, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { QemuHostOptions } from '../src/host/qemu-host.ts'
import { openJail } from '../src/host/qemu/jail.ts'
import { hostPaths } from '../src/host/paths.ts'
import { takeArtifacts } from '../src/host/qemu/artifacts.ts'
import { Lull } from '../src/host/qemu/lull.ts'
import type { TemplateRecord } from '../src/host/qemu/template.ts'
import { Templates } from '../src/host/qemu/templates.ts'
import { eventually, exec, GUEST_DIR, isRoot, openLab, refOf, type Lab } from './host-lab.ts'
import { flip } from './support/damage.ts'

const SIZE = { vcpus: 1, memoryBytes: 128 * 1024 * 1024 }

describe('a template that is not to be trusted', { skip: !isRoot && 'templates need root' }, () => {
  let lab: Lab
  const said: string[] = []
  const note = (_: object, text: string) => void said.push(text)
  const ready = () => said.filter((text) => text === 'a template is ready').length
  const removed = (text: RegExp) => said.filter((line) => text.test(line)).length
  const templatesDir = () => join(lab.dataDir, 'templates')
  const pathOf = (id: string, name: string) => join(templatesDir(), id, name)

  before(async () => {
    // Of images there are none here: their own damage is in image-template-vm.test.ts.
    lab = await openLab({ templates: [SIZE], imageTemplates: 0, log: { info: note, warn: note } })
    await eventually('a template', () => ready() === 1)
  })
  after(() => lab.close())

  it('of another QEMU, CPU, kernel or agent by its record, or with a broken record, is passed over and goes', async () => {
    await withCopies<(record: TemplateRecord) => unknown>(
      {
        'of another QEMU': (record) => ({ ...record, key: { ...record.key, machine: { ...record.key.machine, qemu: '7.2.99' } } }),
        'of another CPU': (record) => ({ ...record, key: { ...record.key, machine: { ...record.key.machine, cpu: 'another CPU' } } }),
        'of another kernel': (record) => ({ ...record, key: { ...record.key, guest: '0123456789abcdef' } }),
        'without a key': (record) => ({ ...record, key: null }),
        'with half a key': (record) => ({ ...record, key: { ...record.key, machine: {} } }),
        'that is no JSON': () => '{"format":1,"key"',
      },
      (id, change) => alterRecord(id, change),
    )
    await passedOver(/the template of this size is of another .*QEMU \(7\.2\.99\).*: booting; one is made for the next/)
    assert.equal(removed(/^a template of another (QEMU|CPU|kernel or agent) \(.+\) is removed$/), 3)
  })

  it('with a byte of its memory or its devices changed, cut off, added or lost is removed', async () => {
    const warnings = removed(/is damaged: its files are not those that were written/)
    await withCopies<(id: string) => Promise<void>>(
      {
        'memory: a byte is another': (id) => flip(pathOf(id, 'memory')),
        'memory: the end is missing': (id) => shorten(pathOf(id, 'memory')),
        'memory: there is none': (id) => rm(pathOf(id, 'memory')),
        'devices: a byte is another': (id) => flip(pathOf(id, 'state')),
        'devices: the end is missing': (id) => shorten(pathOf(id, 'state')),
        'devices: a byte more': (id) => appendFile(pathOf(id, 'state'), 'x'),
        'devices: there are none': (id) => rm(pathOf(id, 'state')),
        'the record tells another checksum': (id) => alterRecord(id, (record) => ({ ...record, memorySha256: '0'.repeat(64) })),
      },
      (id, damage) => damage(id),
    )
    await passedOver(/no template of this size is ready: booting; one is made for the next/)
    assert.equal(removed(/is damaged: its files are not those that were written/) - warnings, 8)
  })

  it('whose devices are cut off under a server that has it in use boots its next instance', async () => {
    const [id] = await readdir(templatesDir())
    assert.ok(id !== undefined)
    const made = ready()
    await shorten(pathOf(id, 'state'))
    assert.match(await starts('cold'), new RegExp(`cloning template ${id} failed, booting instead: .*is damaged`))
    await eventually('another template', () => ready() > made)
    assert.ok(!(await readdir(templatesDir())).includes(id))
    await starts('template')
  })

  it('gives its devices to no clone once they were changed, cut off, replaced or lost', async () => {
    const [good] = await readdir(templatesDir())
    assert.ok(good !== undefined)
    const whole = await readFile(pathOf(good, 'state'))
    for (const damage of [flip, shorten, rm, (path: string) => writeFile(path, whole)]) {
      const id = await copyOf(good)
      const templates = await openTemplates(join(GUEST_DIR, 'sealed-memory'))
      try {
        const template = await templates.get(id)
        await (await template.openState()).close()
        await damage(pathOf(id, 'state'))
        await assert.rejects(template.openState(), /is damaged/)
      } finally {
        await templates.close()
        await rm(join(templatesDir(), id), { recursive: true })
      }
    }
  })

  it('stays while a VM is made of it, although its place is wanted', async () => {
    const [id] = await readdir(templatesDir())
    assert.ok(id !== undefined)
    const templates = await openTemplates(join(GUEST_DIR, 'sealed-memory'))
    try {
      const { key } = await templates.get(id)
      const given = templates.take(key)
      assert.ok(given !== null)
      const over = templates.hold(given)
      // One of another guest has no use for it, and can't be made here.
      templates.want({ ...key, guest: 'another' })
      await templates.settled()
      assert.ok(given.memory.file.fd >= 0, 'its memory is still open')
      await (await given.openState()).close()
      assert.ok((await readdir(templatesDir())).includes(id))
      over()
    } finally {
      await templates.close()
    }
  })

  it('whose memory on the disk is changed under a server that has read it is the same to its clones', async () => {
    const [id] = await readdir(templatesDir())
    assert.ok(id !== undefined)
    await flip(pathOf(id, 'memory'))
    await starts('template')
  })

  it('is kept where it can’t be read for the moment, since instances may sleep that came from it', async () => {
    const known = await readdir(templatesDir())
    const templates = await openTemplates('/bin/false')
    for (const id of known) await assert.rejects(templates.get(id), /no memory file/)
    assert.deepEqual(await readdir(templatesDir()), known)
  })

  it('of another agent is passed over and goes', async () => {
    const artifactsDir = await mkdtemp(join(tmpdir(), 'berth-other-'))
    try {
      // The same files, packed anew: other bytes.
      await otherGuest(artifactsDir, 'initramfs.gz', (bytes) => gzipSync(gunzipSync(bytes), { level: 1 }))
      await passedOver(/the template of this size is of another kernel or agent \([0-9a-f]{16}\): booting; one is made for the next/, { artifactsDir })
    } finally {
      await rm(artifactsDir, { recursive: true, force: true })
    }
  })

  it('tells its kernel and its agent by their bytes', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'berth-other-'))
    try {
      const versions: string[] = [(await takeArtifacts(GUEST_DIR, join(dir, 'own'))).version]
      for (const file of ['vmlinuz', 'initramfs.gz']) {
        await otherGuest(join(dir, file), file, (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]))
        versions.push((await takeArtifacts(join(dir, file), join(dir, 'own'))).version)
      }
      assert.equal(new Set(versions).size, 3)
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  })

  /** Templates over the host's own directory, as another server would have them. */
  async function openTemplates(tool: string): Promise<Templates> {
    const home = { paths: hostPaths(lab.dataDir, lab.runDir), jail: await openJail(), artifacts: {} as never, log: { info: () => undefined, warn: () => undefined }, volumes: {} as never, lull: new Lull(), imageTemplates: 0, rootOf: async () => null }
    return await Templates.open(home, tool, () => new Set())
  }

  /** A guest like the one that was built, with one file changed. */
  async function otherGuest(dir: string, file: string, change: (bytes: Buffer) => Buffer): Promise<void> {
    for (const name of ['vmlinuz', 'initramfs.gz', 'version', 'agent', 'sealed-memory', 'small-pages', 'tsc-rate']) await cp(await realpath(join(GUEST_DIR, name)), join(dir, name))
    await writeFile(join(dir, file), change(await readFile(join(dir, file))))
  }

  /** The host anew over templates that are all no good: the next instance boots and says so, and one good template is there then. */
  async function passedOver(why: RegExp, more: Partial<QemuHostOptions> = {}): Promise<void> {
    const bad = await readdir(templatesDir())
    const made = ready()
    await lab.reopen({ templates: [], ...more })
    assert.match(await starts('cold'), why)
    await eventually('another template', () => ready() > made)
    const now = await readdir(templatesDir())
    assert.ok(now.length === 1 && now[0] !== undefined && !bad.includes(now[0]), `the templates are ${now.join(', ')}`)
    await starts('template')
  }

  /** Launches an instance, checks which way it came up and that it works, and gives the host's notes on it. */
  async function starts(how: 'cold' | 'template'): Promise<string> {
    const spec = lab.spec()
    const begun = await lab.host.start(spec)
    const text = await readFile(join(lab.dataDir, 'instances', spec.instanceId, 'server.log'), 'utf8')
    assert.equal(begun.how, how, text)
    assert.equal((await exec(lab.host, spec, ['true'])).code, 0)
    await lab.host.destroy(refOf(spec))
    return text
  }

  /** In place of the template there are copies of it, each changed in its own way. */
  async function withCopies<T>(changes: Readonly<Record<string, T>>, change: (id: string, how: T) => Promise<void>): Promise<void> {
    const [good, ...others] = await readdir(templatesDir())
    assert.ok(good !== undefined && others.length === 0)
    for (const how of Object.values(changes)) {
      await change(await copyOf(good), how)
    }
    await rm(join(templatesDir(), good), { recursive: true })
  }

  async function copyOf(template: string): Promise<string> {
    const id = randomUUID()
    await mkdir(join(templatesDir(), id))
    for (const name of ['memory', 'state', 'template.json']) await copyFile(pathOf(template, name), pathOf(id, name))
    return id
  }

  async function alterRecord(id: string, change: (record: TemplateRecord) => unknown): Promise<void> {
    const path = pathOf(id, 'template.json')
    const changed = change(JSON.parse(await readFile(path, 'utf8')) as TemplateRecord)
    await writeFile(path, typeof changed === 'string' ? changed : JSON.stringify(changed))
  }
})

async function shorten(path: string): Promise<void> {
  const file = await open(path, 'r')
  const { size } = await file.stat().finally(() => file.close())
  await truncate(path, size - 4096)
}
